"""Odd and random texts, and the ids that our tokenizer gives for them beside another's."""
import json
import random
import subprocess
import sys

program, folder = sys.argv[1:3]
failures = []

ODD = [
    "",
    " ",
    "   ",
    "\n\n\t \r\n",
    "Ünïcödé — naïve café, 東京 123456 don't\t\ttabs  and   spaces\r\n\n  🙂 def f(x):\n\treturn x**2  # 3.14159 I'LL we're",
    "e\u0301 A\u030a \u1112\u1161\u11ab \ufb01 \u212b \u2126",  # composes under NFC
    "<|endoftext|>hello<|endoftext|> <|im_start|>user\nhi<|im_end|>\n<|im_start|><|im_start|><|endoftext",
    "a<strip>b  <strip>\n c <word> <word>s x<word>, \u00e9<word> <norm> e\u0301<norm>",
    "a  1 22  333   4444 55555 ½ ① ٣٤ Ⅻ x²",
    "I'm we'VE they'd 'S it\u2019s O'Reilly '\u017f 'tis",
    "\u180e \u0085x\u00a0y\u2003z\u2028w\u3000v \u200b\u200d\ufeff",
    "\u0000\u0001\u0004\u001f\u007f\u0080\u00ad",
    "👩‍👩‍👧‍👦🏳️‍🌈🇩🇪 \U0001f9d1\U0001f3fd\u200d\U0001f4bb",
    "हिन्दी ภาษาไทย العربية עברית 한국어 Ελληνικά русский ქართული",
    "x" * 3000 + " " * 3000 + "\n" * 300 + "!" * 3000 + "7" * 1000,
    "def f(a, b=None):\r\n    return {'a': a[1:2], \"b\": b}  # done...\n\n\n",
]


def random_texts(seed, count):
    rng = random.Random(seed)
    ranges = [(0x20, 0x7e)] * 6 + [(0x9, 0xd), (0xa0, 0x24f), (0x300, 0x36f), (0x370, 0x5ff), (0x900, 0xdff),
                                 (0x1100, 0x11ff), (0x2000, 0x206f), (0x3040, 0x30ff), (0x4e00, 0x9fff),
                                 (0xac00, 0xd7a3), (0x1f300, 0x1f6ff)]
    words = ["the", " the", " of", "ing", "'ll", "'S", "  ", "\n", "\r\n", "12", " 3", "<|endoftext|>", "<word>",
             "<strip>", "<norm>", "<|im_end|>", ".", ", "]
    for _ in range(count):
        parts = []
        for _ in range(rng.randint(1, 60)):
            low, high = rng.choice(ranges)
            parts.append(rng.choice(words) if rng.random() < 0.5 else chr(rng.randint(low, high)))
        yield "".join(parts)


TEXTS = ODD + list(random_texts(1, 600))
CORPUS = TEXTS[:300] + ["the theory of the thing is that things tie in the end, " * 3] * 20


def ours(path, special, *export, texts=TEXTS):
    lines = "".join(json.dumps(t) + "\n" for t in texts)
    done = subprocess.run([program, path, special, *export], input=lines.encode(), capture_output=True)
    if done.returncode:
        raise SystemExit(f"{path}: {done.stderr.decode()}")
    return [json.loads(line) for line in done.stdout.decode().split("\n")[:-1]]


def finish_gguf(writer, flags):
    """Names the tokens 1 and 2, sets flags by their methods, and writes the file."""
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    for flag, value in flags.items():
        getattr(writer, flag)(value)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def compare(name, got, want, texts=TEXTS):
    wrong = [i for i, (g, w) in enumerate(zip(got, want)) if g["ids"] != w]
    for i in wrong[:3]:
        print(f"  {texts[i][:80]!r}\n    ours   {got[i]['ids'][:40]}\n    theirs {want[i][:40]}")
    if wrong or len(got) != len(want):
        failures.append(name)
    print(f"{'FAIL' if wrong else 'ok  '} {name}: {len(want)} texts, {sum(map(len, want))} ids")


def finish():
    if failures:
        raise SystemExit("failed: " + "; ".join(failures))
