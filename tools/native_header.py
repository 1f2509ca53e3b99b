"""Reads the exported functions of a native C header: comments and preprocessor lines go, DEPRECATED(...) is opened,
and every declaration marked with the export macro becomes a Function. Owns no state."""

import re
from typing import NamedTuple


class Function(NamedTuple):
    name: str
    returns: str
    args: tuple  # of texts, one per argument
    deprecated: bool


def _strip(text):
    text = re.sub(r"/\*.*?\*/", " ", text, flags=re.S)
    text = re.sub(r"//[^\n]*", " ", text)
    text = re.sub(r"\\\n", " ", text)
    return re.sub(r"^[ \t]*#[^\n]*", " ", text, flags=re.M)


def _open_deprecated(text):
    """DEPRECATED(declaration, "hint"); with the export macro inside or in front becomes  MARK declaration;"""
    out, at = [], 0
    for m in re.finditer(r"\b(?:WHISPER_)?DEPRECATED\s*\(", text):
        if m.start() < at:
            continue
        depth, i, quoted = 1, m.end(), False
        while depth:
            c = text[i]
            if c == '"' and text[i - 1] != "\\":
                quoted = not quoted
            elif not quoted:
                depth += (c == "(") - (c == ")")
            i += 1
        inside = re.sub(r',\s*(?:"(?:[^"\\]|\\.)*"\s*)+$', "", text[m.end():i - 1].rstrip())
        out += [text[at:m.start()], " _DEPRECATED_ ", inside]
        at = i
    return "".join(out) + text[at:]


def _split_args(text):
    parts, depth, now = [], 0, ""
    for c in text:
        depth += (c in "(<") - (c in ")>")
        if c == "," and depth == 0:
            parts.append(now)
            now = ""
        else:
            now += c
    parts.append(now)
    parts = [" ".join(p.split()) for p in parts]
    return () if parts in ([""], ["void"]) else tuple(parts)


def functions(text, export="LLAMA_API"):
    """All exported functions of a header's text, in order."""
    found = []
    for statement in _open_deprecated(_strip(text)).split(";"):
        if not re.search(r"\b%s\b" % export, statement) or re.search(r"\bextern\b[^(]*\]$", statement.strip()):
            continue
        statement = statement.split("{")[-1].split("}")[-1]
        deprecated = "_DEPRECATED_" in statement
        body = " ".join(statement.replace("_DEPRECATED_", " ").split())
        body = body[re.search(r"\b%s\b" % export, body).end():].strip()
        m = re.match(r"(?P<returns>.*?[\s*])(?P<name>\w+)\s*\((?P<args>.*)\)$", body)
        if not m:
            raise ValueError("cannot read this declaration: " + body)
        found.append(Function(m["name"], " ".join(m["returns"].split()), _split_args(m["args"]), deprecated))
    return found


KINDS = {  # object kind -> the type of an argument that is one
    "CONTEXT": r"\bstruct llama_context \*",
    "MEMORY": r"\bllama_memory_t\b",
    "MODEL": r"\bstruct llama_model \*(?!\*)",
    "VOCAB": r"\bstruct llama_vocab \*",
    "SAMPLER": r"\bstruct llama_sampler \*",
    "BATCH": r"\bstruct llama_batch_ext \*|\bstruct llama_batch\b(?! ?\*)",
    "ADAPTER": r"\bstruct llama_adapter_lora \*(?! ?\*)",
    "WHISPER": r"\bstruct whisper_context \*",
    "STATE": r"\bstruct whisper_state \*",
    "VAD": r"\bstruct whisper_vad_context \*",
    "SPEECH": r"\bstruct whisper_vad_segments \*",
    "MTMD": r"\bmtmd_context \*",
    "BITMAP": r"\bmtmd_bitmap \*(?! ?\*)",
    "CHUNKS": r"\bmtmd_input_chunks \*",
    "CHUNK": r"\bmtmd_input_chunk \*",
    "IMAGE": r"\bmtmd_image_tokens \*",
    "ENCODING": r"\bmtmd_batch \*",
    "VIDEO": r"\bmtmd_helper_video \*",
    "VOICE": r"\bmtmd_helper_gen_audio \*",
    "PAINTER": r"\bsd_ctx_t \*",
    "UPSCALER": r"\bupscaler_ctx_t \*",
    "DETAILER": r"\badetailer_ctx_t \*",
}


def objects(function):
    """The (kind, argument index) of each argument that is an object with a threading rule."""
    out = []
    for i, arg in enumerate(function.args):
        for kind, pattern in KINDS.items():
            if re.search(pattern, re.sub(r"\s*\*\s*", " *", arg)):
                out.append((kind, i))
    return out
