"""Writes scalars.tsv beside it: plain YAML scalars and the repr of what PyYAML's safe_load makes of them."""

import pathlib

import yaml

texts = """
yes Yes YES no No NO on On ON off Off OFF true True TRUE false False FALSE tRUE y n Y N
~ null Null NULL nil None none
0 1 -1 +1 007 010 -010 08 09 0b101 0b2 -0b1 0x1F 0xg -0x_f 1_000 1__0 _1 0_ 00 0_7 0b_1 0x_1
1:30 1:30:00 -1:30 12:60 1:5 190:20:30 0:30 190:20:30.15 1:30.5
9223372036854775807 9223372036854775808 -9223372036854775808 -9223372036854775809 123456789012345678901234567890
1.0 1. .5 -.5 +.5 1.5e+3 1.5e-3 1e+3x 1_0.5 1._5 ._5 . .. -1.5 +1.5 6.02e+23 1.0e+400 -1.0e+400
.inf .Inf .INF -.inf +.inf .nan .NaN .NAN inf nan Infinity .iNF
1.2.3 1-2 +-1 -- - 1e 0x 0b 0. 00.5 1,5 1:2:3:x text a=b a:b /p/a "quoted" 'yes' "1" '~'
""".split()
texts = [text for text in texts if text != "-"] + ["two words", "12 monkeys", "1 2"]

lines = []
for text in texts:
    value = yaml.safe_load("k: " + text)["k"]
    lines.append(f"{text}\t{value!r}\n")
pathlib.Path(__file__).with_name("scalars.tsv").write_text("".join(lines))
