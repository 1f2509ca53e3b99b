#!/usr/bin/env python3
"""Writes a whisper model with random weights in the file format of whisper.cpp: it hears and says nonsense, the same
nonsense each time, which is all that tests of a runtime need. Standard library only; the same arguments give the same
bytes.

  make_whisper.py out.bin [--seed 1] [--width 64] [--heads 1] [--english] [--no-space] [--split]

The shape is small, the vocabulary is not: the ids of whisper's special tokens are fixed, so there are 51865 tokens
(51864 for English alone). Only some hundred of them are likely; how likely the end of a segment is, is set by the
constants below, so that a transcription has several segments of a few words."""

import argparse
import random
import struct
import sys

MAGIC = 0x67676d6c
AUDIO_CTX, TEXT_CTX, MELS, BINS = 1500, 448, 80, 201
F32, F16 = 0, 1
WORDS = 50257                 # text tokens; the end of text follows in a multilingual model, is the last in the other
LIKELY = 600                  # of the words
SILENT = -60.0                # logit of a word that is never said
END_BIAS, TIME_BIAS = 4.0, 11.5
TIME_SLOPE = 0.006            # logits that a timestamp loses to the one before it: small steps are likelier
WORD_SPREAD, TIME_SPREAD = 1.1, 0.3


def floats(rng, n, scale, centre=0.0):
    return [centre + scale * (b - 127.5) / 127.5 for b in rng.randbytes(n)]


def half(rng, n, scale):
    """n random halves in [-scale, scale]; a table, for speed."""
    table = [struct.pack("<e", scale * (b - 127.5) / 127.5) for b in range(256)]
    return b"".join([table[b] for b in rng.randbytes(n)])


class Writer:
    def __init__(self, out, rng):
        self.out, self.rng = out, rng

    def tensor(self, name, dims, kind, data):
        raw = name.encode()
        self.out.write(struct.pack("<3i", len(dims), len(raw), kind) + struct.pack("<%di" % len(dims), *dims) + raw)
        self.out.write(data)

    def matrix(self, name, cols, rows, gain=1.0):
        self.tensor(name, [cols, rows], F16, half(self.rng, cols * rows, gain * (3.0 / cols) ** 0.5))

    def plain(self, name, dims, scale, centre=0.0):
        n = 1
        for d in dims:
            n *= d
        self.tensor(name, dims, F32, struct.pack("<%df" % n, *floats(self.rng, n, scale, centre)))

    def norm(self, name, width):
        self.plain(name + ".weight", [width], 0.2, 1.0)
        self.plain(name + ".bias", [width], 0.1)

    def attention(self, name, width, gain):
        self.matrix(name + ".query.weight", width, width, gain)
        self.plain(name + ".query.bias", [width], 0.1)
        self.matrix(name + ".key.weight", width, width, gain)
        self.matrix(name + ".value.weight", width, width, gain)
        self.plain(name + ".value.bias", [width], 0.1)
        self.matrix(name + ".out.weight", width, width, gain)
        self.plain(name + ".out.bias", [width], 0.1)

    def mlp(self, name, width):
        self.norm(name + ".mlp_ln", width)
        self.matrix(name + ".mlp.0.weight", width, 4 * width)
        self.plain(name + ".mlp.0.bias", [4 * width], 0.1)
        self.matrix(name + ".mlp.2.weight", 4 * width, width)
        self.plain(name + ".mlp.2.bias", [width], 0.1)


def filters():
    """Triangles over the bins, evenly spaced: not the mel scale, which nobody here would hear."""
    rows = []
    for m in range(MELS):
        centre, half_width = (m + 1) * BINS / (MELS + 1), BINS / (MELS + 1)
        rows += [max(0.0, 1 - abs(b - centre) / half_width) * 0.02 for b in range(BINS)]
    return struct.pack("<%df" % len(rows), *rows)


def vocabulary(rng, space, split):
    """Every byte, then made-up words. Without " " whisper.cpp throws when it is to suppress blanks. split: each word
    begins with the second byte of a character and ends with the first one, so that any two make a whole one."""
    words = [bytes([b]) for b in range(256)]
    if not space:
        words[32] = b"_space_"
    known = set(words)
    while len(words) < WORDS:
        syllables = "".join(rng.choice("bdfgklmnprstvz") + rng.choice("aeiou") for _ in range(rng.randint(1, 4)))
        word = ((" " if rng.random() < 0.8 else "") + syllables).encode()
        if split:
            word = b"\xa9" + word + b"\xc3"
        if word not in known:
            known.add(word)
            words.append(word)
    return words


def embedding(rng, width, tokens, end, first_time):
    """Rows of the token embedding, which is the output matrix, too. The final norm sets element 0 of what the rows are
    multiplied with to 1, so a row's element 0 is a bias on its logit."""
    likely = set(rng.sample(range(256, WORDS), LIKELY))
    quiet = struct.pack("<e", SILENT) + b"\0\0" * (width - 1)
    rows = []
    for token in range(tokens):
        if token in likely:
            bias, spread = 0.0, WORD_SPREAD
        elif token == end:
            bias, spread = END_BIAS, TIME_SPREAD
        elif token >= first_time:
            bias, spread = TIME_BIAS - TIME_SLOPE * (token - first_time), TIME_SPREAD
        elif token > end:
            bias, spread = 0.0, WORD_SPREAD  # languages and tasks: suppressed in the text, but read as input
        else:
            rows.append(quiet)
            continue
        rows.append(struct.pack("<e", bias) + half(rng, width - 1, spread))
    return b"".join(rows)


def encoder(w, width):
    w.plain("encoder.positional_embedding", [width, AUDIO_CTX], 0.05)
    w.tensor("encoder.conv1.weight", [3, MELS, width], F16, half(w.rng, 3 * MELS * width, 0.5))
    w.plain("encoder.conv1.bias", [1, width], 0.1)
    w.tensor("encoder.conv2.weight", [3, width, width], F16, half(w.rng, 3 * width * width, 0.2))
    w.plain("encoder.conv2.bias", [1, width], 0.1)
    w.norm("encoder.ln_post", width)
    block = "encoder.blocks.0"
    w.norm(block + ".attn_ln", width)
    w.attention(block + ".attn", width, 1.0)
    w.mlp(block, width)


def decoder(w, width, tokens, end, first_time):
    w.plain("decoder.positional_embedding", [width, TEXT_CTX], 1.0)
    w.tensor("decoder.token_embedding.weight", [width, tokens], F16, embedding(w.rng, width, tokens, end, first_time))
    signs = [w.rng.choice((1.0, -1.0)) for _ in range(width - 1)]  # or every word would be followed by itself
    w.tensor("decoder.ln.weight", [width], F32, struct.pack("<%df" % width, 0.0, *signs))
    w.tensor("decoder.ln.bias", [width], F32, struct.pack("<%df" % width, 1.0, *[0.0] * (width - 1)))
    block = "decoder.blocks.0"
    w.norm(block + ".attn_ln", width)
    w.attention(block + ".attn", width, 1.5)
    w.norm(block + ".cross_attn_ln", width)
    w.attention(block + ".cross_attn", width, 2.0)
    w.mlp(block, width)


def write(out, args):
    rng = random.Random(args.seed)
    tokens, end = (51864, WORDS - 1) if args.english else (51865, WORDS)
    first_time = tokens - 1501
    out.write(struct.pack("<I", MAGIC))
    out.write(struct.pack("<11i", tokens, AUDIO_CTX, args.width, args.heads, 1, TEXT_CTX, args.width, args.heads, 1, MELS,
                          F16))
    out.write(struct.pack("<2i", MELS, BINS) + filters())
    words = vocabulary(rng, not args.no_space, args.split)[:end]
    out.write(struct.pack("<i", len(words)))
    for word in words:
        out.write(struct.pack("<i", len(word)) + word)
    w = Writer(out, rng)
    encoder(w, args.width)
    decoder(w, args.width, tokens, end, first_time)


def main():
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("out")
    p.add_argument("--seed", type=int, default=1)
    p.add_argument("--width", type=int, default=64)
    p.add_argument("--heads", type=int, default=1)
    p.add_argument("--english", action="store_true", help="a model of English alone")
    p.add_argument("--no-space", action="store_true", help="a vocabulary without a blank: a model that is refused")
    p.add_argument("--split", action="store_true", help="a vocabulary whose words begin and end inside a character")
    args = p.parse_args()
    if args.width % args.heads or args.width % 32:
        sys.exit("the width must be a multiple of 32 and of the heads")
    with open(args.out, "wb") as out:
        write(out, args)


if __name__ == "__main__":
    main()
