"""Tests of the flame graphs: what is read from perf, what is unknown in it, and what a pair of graphs says."""

import unittest
from xml.etree import ElementTree

from benchlib import flame

SCRIPT = """\
ringway
\t    7f0000000010 ringway::worker::turn+0x10 (/tmp/ringway)
\t    7f0000000020 main+0x20 (/tmp/ringway)

ringway-worker 1
\tffffffff81000010 tcp_ack ([kernel.kallsyms])
\t    7f0000000010 ringway::worker::turn+0x10 (/tmp/ringway)

ringway
\tffffffff81000020 [unknown] ([unknown])
\t    7f0000000010 ringway::worker::turn+0x10 (/tmp/ringway)

ringway
\t    7f0000000030 [unknown] (/lib/libc.so.6)
"""


class Folding(unittest.TestCase):
    def test_stacks_have_the_thread_at_their_root_and_a_layer_for_each_frame(self):
        stacks = flame.fold(SCRIPT)
        self.assertEqual(sum(stacks.values()), 4)
        turn = ("ringway::worker::turn", flame.OURS)
        self.assertIn((("ringway-worker 1", flame.OTHER), turn, ("tcp_ack", flame.KERNEL)), stacks)
        self.assertIn((("ringway", flame.OTHER), ("main", flame.OTHER), turn), stacks)

    def test_frames_without_a_name_are_counted_wherever_they_are(self):
        share, frames = flame.unknown(flame.fold(SCRIPT))
        self.assertEqual(share, 0.5)
        self.assertEqual(dict(frames), {"[unknown]": 1, "[unknown in libc.so.6]": 1})

    def test_what_cannot_be_read_is_unknown_and_not_dropped(self):
        script = "ringway\n\tno address at all\n\nringway\n\n"
        share, frames = flame.unknown(flame.fold(script))
        self.assertEqual((share, sum(frames.values())), (1.0, 2))


class Differences(unittest.TestCase):
    before = {(("all", flame.OTHER), ("a", flame.OURS)): 30, (("all", flame.OTHER), ("gone", flame.OURS)): 70}
    after = {(("all", flame.OTHER), ("a", flame.OURS)): 9, (("all", flame.OTHER), ("new", flame.OURS)): 1}

    def test_the_largest_come_first_and_shares_are_compared(self):
        changes = flame.differences(self.before, self.after, 2)
        self.assertEqual([name for name, *_ in changes], ["gone", "a"])
        self.assertAlmostEqual(changes[1][2] - changes[1][1], 0.6)

    def test_a_frame_that_grew_is_red_and_one_that_shrank_is_blue(self):
        self.assertRegex(flame.changed_colour(0.01), "^#fa(..)\\1$")
        self.assertRegex(flame.changed_colour(-0.01), "^#(..)\\1fa$")
        self.assertEqual(flame.changed_colour(1), flame.changed_colour(flame.DIFFERENCE_MAX))

    def test_the_graph_is_well_formed_and_has_the_frames_of_after_alone(self):
        graph = ElementTree.fromstring(flame.svg(self.after, "a & b", ["a line"], self.before))
        titles = [element.text for element in graph.iter() if element.tag.endswith("title")]
        self.assertIn("a (9 samples, 90.00%, 30.00% before)", titles)
        self.assertFalse([title for title in titles if title.startswith("gone")])


if __name__ == "__main__":
    unittest.main()
