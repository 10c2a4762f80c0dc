"""What `scripts/bench` and `scripts/flamegraph` are made of; the Python standard library only.

peers       the servers that can be measured: how each is found, built, named and started
server      a running server: started on its core, verified, ended
load        the scenarios and the closed-loop generator: wrk, and perf around it
openloop    the open loop, for latency
memory      resident memory: idle connections, and growth under load
rounds      interleaved rounds of all peers, and the ratios within each
accounting  what the kernel says of a process and its children: CPU time and resident memory
figures     ratios, medians, quartiles and the table of a run
report      results into the README's table
chart       results into an SVG
flame       stacks into an SVG
checkout    a commit beside the working tree

`python3 -m unittest discover -s scripts/benchlib -t scripts` checks what performs no I/O.
"""
