#!/usr/bin/env python3
"""Writes a GGUF projector with random weights, the part of a vision model that makes vectors of an image, for libmtmd.
It sees nothing, but the same image gives the same vectors and another image others, which is all that tests need.
Standard library only; the same arguments give the same bytes.

  make_mmproj.py mmproj.gguf --for 64                 for a language model whose embeddings have 64 numbers
  make_mmproj.py mmproj.gguf --for 64 --kind gemma3   its tokens see each other, before and after"""

import argparse
import os
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from make_gguf import ARRAY, BOOL, F32, FILE_TYPE, STRING, U32, Tensors, write  # noqa: E402


def layer(t, a, b):
    for norm in ("ln1.", "ln2."):
        t.plain(b + norm + "weight", [a.width], 1, 0.3)
        t.plain(b + norm + "bias", [a.width], 0, 0.3)
    for name, cols, rows in (("attn_q", a.width, a.width), ("attn_k", a.width, a.width), ("attn_v", a.width, a.width),
                             ("attn_out", a.width, a.width), ("ffn_up", a.width, a.ff), ("ffn_down", a.ff, a.width)):
        t.matrix(b + name + ".weight", cols, rows, 1.5)
        t.plain(b + name + ".bias", [rows], 0, 0.2)


def encoder(t, a):
    patches = (a.image // a.patch) ** 2
    t.plain("v.patch_embd.weight", [a.patch, a.patch, 3, a.width], 0, 3.0 / a.patch)
    t.plain("v.patch_embd.bias", [a.width], 0, 0.2)
    t.matrix("v.position_embd.weight", a.width, patches)
    t.plain("v.post_ln.weight", [a.width], 1, 0.3)
    t.plain("v.post_ln.bias", [a.width], 0, 0.3)
    for i in range(a.layers):
        layer(t, a, "v.blk.%d." % i)


def mlp(t, a):
    """As LLaVA's: a vector per patch, through two matrices; the encoder's last layer is never run."""
    a.layers += 1
    encoder(t, a)
    t.matrix("mm.0.weight", a.width, a.to, 1.5)
    t.plain("mm.0.bias", [a.to], 0, 0.2)
    t.matrix("mm.2.weight", a.to, a.to, 4.0)
    t.plain("mm.2.bias", [a.to], 0, 0.2)
    return []


def gemma3(t, a):
    """As Gemma's: blocks of patches are averaged to one vector each; its tokens attend to all of their image."""
    encoder(t, a)
    t.plain("mm.soft_emb_norm.weight", [a.width], 1, 0.3)
    t.matrix("mm.input_projection.weight", a.to, a.width, 4.0)
    return [("clip.vision.projector.scale_factor", U32, a.pool)]


KINDS = {"mlp": mlp, "gemma3": gemma3}


def arguments():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("path")
    p.add_argument("--for", dest="to", type=int, required=True, metavar="WIDTH", help="of the language model's embeddings")
    p.add_argument("--kind", choices=sorted(KINDS), default="mlp")
    p.add_argument("--image", type=int, default=32, help="side of the square that images are brought to, in pixels")
    p.add_argument("--patch", type=int, default=8, help="side of a patch: an image is (image / patch)^2 tokens")
    p.add_argument("--pool", type=int, default=2, help="gemma3: patches in a row that become one token")
    p.add_argument("--width", type=int, default=32, help="of the encoder")
    p.add_argument("--layers", type=int, default=1)
    p.add_argument("--heads", type=int, default=2)
    p.add_argument("--name", default="")
    p.add_argument("--seed", type=int, default=1)
    a = p.parse_args()
    a.ff = 2 * a.width
    if a.image % a.patch or a.image // a.patch % a.pool or a.width % a.heads:
        p.error("image is a multiple of patch, image / patch of pool, width of heads")
    return a


def main():
    a = arguments()
    t = Tensors(a.seed, "f32")
    own = KINDS[a.kind](t, a)
    metadata = [("general.architecture", STRING, "clip"), ("general.type", STRING, "mmproj"),
                ("general.file_type", U32, FILE_TYPE["f32"]), ("general.name", STRING, a.name or "random " + a.kind),
                ("clip.has_vision_encoder", BOOL, True), ("clip.projector_type", STRING, a.kind),
                ("clip.use_gelu", BOOL, True),
                ("clip.vision.image_size", U32, a.image), ("clip.vision.patch_size", U32, a.patch),
                ("clip.vision.embedding_length", U32, a.width), ("clip.vision.feed_forward_length", U32, a.ff),
                ("clip.vision.block_count", U32, a.layers), ("clip.vision.attention.head_count", U32, a.heads),
                ("clip.vision.attention.layer_norm_epsilon", F32, 1e-5), ("clip.vision.projection_dim", U32, a.to),
                ("clip.vision.image_mean", (ARRAY, F32), [0.5] * 3), ("clip.vision.image_std", (ARRAY, F32), [0.5] * 3)]
    write(a.path, metadata + own, t.list)


if __name__ == "__main__":
    main()
