"""What `scripts/bench` and `scripts/flamegraph` are made of; the Python standard library only.

peers       the servers that can be measured: how each is found, started, verified and ended
load        the scenarios and the generator: wrk, and perf around it
accounting  what the kernel says of a process and its children: CPU time and resident memory
figures     ratios, medians, quartiles and the table
flame       stacks into an SVG
"""
