#!/usr/bin/env python3
"""Writes a GGUF model with random weights: any shape, quantisation and vocabulary, from a seed, in a second. It talks
nonsense, which is all that tests of a runtime need. Standard library only; the same arguments give the same bytes.

  make_gguf.py out.gguf --arch llama --layers 2 --width 64 --heads 4 --kv-heads 2 --type q8_0 --tokenizer bpe
  make_gguf.py lora.gguf --arch llama --layers 2 --width 64 --heads 4 --kv-heads 2 --lora 4    an adapter for it
  make_gguf.py bert.gguf --arch bert --pooling mean                                            an encoder"""

import argparse
import random
import struct
import sys

U16, U32, I32, F32, BOOL, STRING, ARRAY = 2, 4, 5, 6, 7, 8, 9
ALIGNMENT = 32
FILE_TYPE = {"f32": 0, "f16": 1, "q4_0": 2, "q8_0": 7}
TENSOR_TYPE = {"f32": 0, "f16": 1, "q4_0": 2, "q8_0": 8}
NORMAL, UNKNOWN, CONTROL, BYTE = 1, 2, 3, 6


# ---- weights

def levels(scale, fmt):
    """256 evenly spread values in [-scale, scale], encoded: a random byte picks one."""
    return [struct.pack(fmt, scale * (b - 127.5) / 127.5) for b in range(256)]


def encode(rng, kind, rows, cols, scale):
    """rows x cols random numbers, uniform in [-scale, scale]."""
    if kind == "f32" or kind == "f16":
        table = levels(scale, "<f" if kind == "f32" else "<e")
        return b"".join([table[b] for b in rng.randbytes(rows * cols)])
    assert cols % 32 == 0, "a row of %d is no multiple of a block of 32" % cols
    quants, step = (32, scale / 128) if kind == "q8_0" else (16, scale / 8)
    d = struct.pack("<e", step)
    data = rng.randbytes(rows * cols // 32 * quants)
    return b"".join([d + data[i:i + quants] for i in range(0, len(data), quants)])


class Tensors:
    """Named tensors in the order they are made; dims as GGUF has them, the row length first."""

    def __init__(self, seed, kind):
        self.rng, self.kind, self.list = random.Random(seed), kind, []

    def matrix(self, name, cols, rows, gain=1.0):
        data = encode(self.rng, self.kind, rows, cols, gain * (3.0 / cols) ** 0.5)
        self.list.append((name, (cols, rows), TENSOR_TYPE[self.kind], data))

    def plain(self, name, dims, centre, spread):
        """Norms, biases and the like: always f32."""
        n = 1
        for d in dims:
            n *= d
        values = [centre + spread * (b - 127.5) / 127.5 for b in self.rng.randbytes(n)]
        self.list.append((name, tuple(dims), TENSOR_TYPE["f32"], struct.pack("<%df" % n, *values)))


# ---- vocabularies

def byte_letters():
    """GPT-2's map: every byte as a printable character."""
    keep = list(range(33, 127)) + list(range(161, 173)) + list(range(174, 256))
    out, n = {}, 0
    for b in range(256):
        out[b] = chr(b) if b in keep else chr(256 + n)
        n += b not in keep
    return out


def bpe(rng, size):
    letters = byte_letters()
    tokens = [letters[b] for b in range(256)]
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    if size < len(tokens) + len(special):
        sys.exit("a byte-level vocabulary has at least %d tokens" % (len(tokens) + len(special)))
    pool, merges, known = [letters[ord(c)] for c in " etaoinshrdlu"], [], set(tokens)
    while len(tokens) < size - len(special):
        a, b = rng.choice(pool), rng.choice(pool)
        if a + b not in known and len(a + b) <= 8 and letters[32] not in b:
            merges.append(a + " " + b)
            tokens.append(a + b)
            pool.append(a + b)
            known.add(a + b)
    types = [NORMAL] * len(tokens) + [CONTROL] * len(special)
    tokens += special
    return [("tokenizer.ggml.model", STRING, "gpt2"), ("tokenizer.ggml.pre", STRING, "gpt-2"),
            ("tokenizer.ggml.tokens", (ARRAY, STRING), tokens), ("tokenizer.ggml.token_type", (ARRAY, I32), types),
            ("tokenizer.ggml.merges", (ARRAY, STRING), merges),
            ("tokenizer.ggml.bos_token_id", U32, size - 3), ("tokenizer.ggml.eos_token_id", U32, size - 1),
            ("tokenizer.ggml.add_bos_token", BOOL, False)]


def spm(rng, size):
    tokens = ["<unk>", "<s>", "</s>"] + ["<0x%02X>" % b for b in range(256)]
    types = [UNKNOWN, CONTROL, CONTROL] + [BYTE] * 256
    if size < len(tokens) + 64:
        sys.exit("a vocabulary with byte tokens has at least %d tokens" % (len(tokens) + 64))
    pieces = ["\u2581"] + [chr(c) for c in range(33, 127)][:size - len(tokens) - 1]
    known = set(pieces)
    while len(tokens) + len(pieces) < size:
        piece = rng.choice(["", "\u2581"]) + "".join(rng.choice("etaoinshrdlu") for _ in range(rng.randint(2, 5)))
        if piece not in known:
            known.add(piece)
            pieces.append(piece)
    scores = [0.0] * len(tokens) + [-float(i) for i in range(len(pieces))]
    return [("tokenizer.ggml.model", STRING, "llama"),
            ("tokenizer.ggml.tokens", (ARRAY, STRING), tokens + pieces),
            ("tokenizer.ggml.scores", (ARRAY, F32), scores),
            ("tokenizer.ggml.token_type", (ARRAY, I32), types + [NORMAL] * len(pieces)),
            ("tokenizer.ggml.bos_token_id", U32, 1), ("tokenizer.ggml.eos_token_id", U32, 2),
            ("tokenizer.ggml.unknown_token_id", U32, 0)]


# ---- architectures

def attention(t, a, b, biases):
    head = a.width // a.heads
    for name, rows in (("q", a.width), ("k", head * a.kv_heads), ("v", head * a.kv_heads)):
        t.matrix(b + "attn_%s.weight" % name, a.width, rows, 2.0)
        if biases:
            t.plain(b + "attn_%s.bias" % name, [rows], 0, 0.5)
    t.matrix(b + "attn_output.weight", a.width, a.width)


def gated_ff(t, a, b):
    t.matrix(b + "ffn_gate.weight", a.width, a.ff)
    t.matrix(b + "ffn_up.weight", a.width, a.ff)
    t.matrix(b + "ffn_down.weight", a.ff, a.width)


def llama_like(t, a):
    """llama, qwen2 (biases), gemma (tied, scaled embeddings)."""
    t.matrix("token_embd.weight", a.width, a.vocab, 0.3 if a.arch == "gemma" else 2.0)
    t.plain("output_norm.weight", [a.width], 1.5, 0.5)
    if not a.tied and a.arch != "gemma":
        t.matrix("output.weight", a.width, a.vocab, 3.0)
    for i in range(a.layers):
        b = "blk.%d." % i
        t.plain(b + "attn_norm.weight", [a.width], 1, 0.3)
        attention(t, a, b, a.arch == "qwen2")
        t.plain(b + "ffn_norm.weight", [a.width], 1, 0.3)
        gated_ff(t, a, b)
    return [("attention.layer_norm_rms_epsilon", F32, 1e-5), ("attention.head_count", U32, a.heads),
            ("attention.head_count_kv", U32, a.kv_heads), ("attention.key_length", U32, a.width // a.heads),
            ("attention.value_length", U32, a.width // a.heads), ("rope.dimension_count", U32, a.width // a.heads)]


def gpt2(t, a):
    t.matrix("token_embd.weight", a.width, a.vocab, 2.0)
    t.matrix("position_embd.weight", a.width, a.ctx)
    for name in ("weight", "bias"):
        t.plain("output_norm." + name, [a.width], name == "weight", 0.3)
    t.matrix("output.weight", a.width, a.vocab, 3.0)
    for i in range(a.layers):
        b = "blk.%d." % i
        for norm in ("attn_norm.", "ffn_norm."):
            t.plain(b + norm + "weight", [a.width], 1, 0.3)
            t.plain(b + norm + "bias", [a.width], 0, 0.3)
        for name, cols, rows in (("attn_qkv", a.width, 3 * a.width), ("attn_output", a.width, a.width),
                                 ("ffn_up", a.width, a.ff), ("ffn_down", a.ff, a.width)):
            t.matrix(b + name + ".weight", cols, rows, 1.5)
            t.plain(b + name + ".bias", [rows], 0, 0.2)
    return [("attention.layer_norm_epsilon", F32, 1e-5), ("attention.head_count", U32, a.heads)]


def mamba(t, a):
    inner, state, rank, kernel = 2 * a.width, 16, max(a.width // 16, 1), 4
    t.matrix("token_embd.weight", a.width, a.vocab, 2.0)
    t.plain("output_norm.weight", [a.width], 1.5, 0.5)
    for i in range(a.layers):
        b = "blk.%d." % i
        t.plain(b + "attn_norm.weight", [a.width], 1, 0.3)
        t.matrix(b + "ssm_in.weight", a.width, 2 * inner)
        t.plain(b + "ssm_conv1d.weight", [kernel, inner], 0.3, 0.3)
        t.plain(b + "ssm_conv1d.bias", [inner], 0, 0.1)
        t.matrix(b + "ssm_x.weight", inner, rank + 2 * state)
        t.plain(b + "ssm_dt.weight", [rank, inner], 0, 0.5)
        t.plain(b + "ssm_dt.bias", [inner], -2, 0.5)
        t.plain(b + "ssm_a", [state, inner], -1, 0.5)
        t.plain(b + "ssm_d", [inner], 1, 0.3)
        t.matrix(b + "ssm_out.weight", inner, a.width)
    return [("attention.layer_norm_rms_epsilon", F32, 1e-5), ("attention.head_count", U32, 0),
            ("ssm.conv_kernel", U32, kernel), ("ssm.inner_size", U32, inner), ("ssm.state_size", U32, state),
            ("ssm.time_step_rank", U32, rank)]


def bert(t, a):
    """An encoder; with --pooling rank it has the head of a reranker."""
    t.matrix("token_embd.weight", a.width, a.vocab, 2.0)
    t.matrix("position_embd.weight", a.width, a.ctx)
    t.plain("token_types.weight", [a.width, 2], 0, 0.3)
    norms(t, a, "token_embd_norm.")
    for i in range(a.layers):
        b = "blk.%d." % i
        attention(t, a, b, True)
        t.plain(b + "attn_output.bias", [a.width], 0, 0.2)
        norms(t, a, b + "attn_output_norm.")
        for name, cols, rows in (("ffn_up", a.width, a.ff), ("ffn_down", a.ff, a.width)):
            t.matrix(b + name + ".weight", cols, rows)
            t.plain(b + name + ".bias", [rows], 0, 0.2)
        norms(t, a, b + "layer_output_norm.")
    keys = [("attention.layer_norm_epsilon", F32, 1e-5), ("attention.head_count", U32, a.heads),
            ("attention.causal", BOOL, False), ("pooling_type", U32, POOLING[a.pooling])]
    if a.pooling == "rank":
        t.matrix("cls.weight", a.width, a.width)
        t.plain("cls.bias", [a.width], 0, 0.1)
        t.matrix("cls.output.weight", a.width, 1, 3.0)
        t.plain("cls.output.bias", [1], 0, 0.1)
    return keys


def norms(t, a, prefix):
    t.plain(prefix + "weight", [a.width], 1, 0.3)
    t.plain(prefix + "bias", [a.width], 0, 0.3)


POOLING = {"none": 0, "mean": 1, "cls": 2, "last": 3, "rank": 4}
ARCHITECTURES = {"bert": bert, "llama": llama_like, "qwen2": llama_like, "gemma": llama_like, "gpt2": gpt2, "mamba": mamba}


def adapter(a, model):
    """A LoRA adapter for the attention of the model: two thin matrices for each of its own."""
    t = Tensors(a.seed ^ 0x10a, "f32")
    for name, dims, _, _ in model:
        if ".attn_" in name and name.endswith(".weight") and len(dims) == 2:
            t.matrix(name + ".lora_a", dims[0], a.lora)
            t.matrix(name + ".lora_b", a.lora, dims[1])
    return t


# ---- the file

def text(s):
    data = s.encode("utf-8")
    return struct.pack("<Q", len(data)) + data


def value(kind, v):
    if isinstance(kind, tuple):
        return struct.pack("<IQ", kind[1], len(v)) + b"".join([value(kind[1], x) for x in v])
    if kind == STRING:
        return text(v)
    return struct.pack({U16: "<H", U32: "<I", I32: "<i", F32: "<f", BOOL: "<?"}[kind], v)


def pad(n):
    return b"\0" * (-n % ALIGNMENT)


def write(path, metadata, tensors):
    head = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(metadata))
    for key, kind, v in metadata:
        head += text(key) + struct.pack("<I", kind[0] if isinstance(kind, tuple) else kind) + value(kind, v)
    offset = 0
    for name, dims, kind, data in tensors:
        head += text(name) + struct.pack("<I%dQ" % len(dims), len(dims), *dims) + struct.pack("<IQ", kind, offset)
        offset += len(data) + len(pad(len(data)))
    with open(path, "wb") as f:
        f.write(head + pad(len(head)))
        for _, _, _, data in tensors:
            f.write(data + pad(len(data)))


def write_split(path, metadata, tensors, pieces):
    """path is PREFIX.gguf; the pieces are called as libllama wants them."""
    each = (len(tensors) + pieces - 1) // pieces
    for i in range(pieces):
        own = [("split.no", U16, i), ("split.count", U16, pieces), ("split.tensors.count", I32, len(tensors))]
        write("%s-%05d-of-%05d.gguf" % (path[:-len(".gguf")], i + 1, pieces), own + (metadata if i == 0 else []),
              tensors[i * each:(i + 1) * each])


def arguments():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("path")
    p.add_argument("--arch", choices=sorted(ARCHITECTURES), default="llama")
    p.add_argument("--layers", type=int, default=2)
    p.add_argument("--width", type=int, default=64, help="of the embedding; a multiple of 32")
    p.add_argument("--heads", type=int, default=4)
    p.add_argument("--kv-heads", type=int, default=0, help="0: as many as heads")
    p.add_argument("--ff", type=int, default=0, help="width of the feed-forward part; 0: 2 x width")
    p.add_argument("--type", choices=sorted(TENSOR_TYPE), default="f32")
    p.add_argument("--vocab", type=int, default=512)
    p.add_argument("--tokenizer", choices=("bpe", "spm"), default="bpe")
    p.add_argument("--ctx", type=int, default=1024, help="training length")
    p.add_argument("--tied", action="store_true", help="no output matrix of its own")
    p.add_argument("--chat-template", default="", help="its Jinja text")
    p.add_argument("--name", default="")
    p.add_argument("--seed", type=int, default=1)
    p.add_argument("--lora", type=int, default=0, help="writes an adapter of this rank for the model instead of it")
    p.add_argument("--pooling", choices=sorted(POOLING), default="mean", help="of bert")
    p.add_argument("--split", type=int, default=0, help="writes the model in so many pieces")
    a = p.parse_args()
    a.kv_heads = a.kv_heads or a.heads
    a.ff = a.ff or 2 * a.width
    if a.width % 32 or a.ff % 32 or a.width % a.heads or a.heads % a.kv_heads:
        p.error("width and ff are multiples of 32, width of heads, heads of kv-heads")
    return a


def main():
    a = arguments()
    t = Tensors(a.seed, a.type)
    own = ARCHITECTURES[a.arch](t, a)
    if a.lora:
        write(a.path, [("general.type", STRING, "adapter"), ("general.architecture", STRING, a.arch),
                       ("general.name", STRING, a.name or "random adapter"), ("adapter.type", STRING, "lora"),
                       ("adapter.lora.alpha", F32, 2.0 * a.lora)], adapter(a, t.list).list)
        return
    metadata = [("general.architecture", STRING, a.arch), ("general.file_type", U32, FILE_TYPE[a.type]),
                ("general.name", STRING, a.name or "random %s %s" % (a.arch, a.type)),
                (a.arch + ".context_length", U32, a.ctx), (a.arch + ".embedding_length", U32, a.width),
                (a.arch + ".block_count", U32, a.layers), (a.arch + ".feed_forward_length", U32, a.ff)]
    metadata += [(a.arch + "." + key, kind, v) for key, kind, v in own]
    metadata += (bpe if a.tokenizer == "bpe" else spm)(random.Random(a.seed ^ 0x70c), a.vocab)
    if a.arch == "bert":
        metadata += [("tokenizer.ggml.seperator_token_id", U32, a.vocab - 2 if a.tokenizer == "bpe" else 2),
                     ("tokenizer.ggml.add_eos_token", BOOL, True), ("tokenizer.ggml.token_type_count", U32, 2)]
    if a.chat_template:
        metadata.append(("tokenizer.chat_template", STRING, a.chat_template))
    if a.split:
        write_split(a.path, metadata, t.list, a.split)
    else:
        write(a.path, metadata, t.list)


if __name__ == "__main__":
    main()
