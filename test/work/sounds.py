"""Audio for tasks of kind "transcribe": samples, WAV files, payloads."""
import base64
import math
import struct


def sound(seconds=3.0, pitch=440.0, rate=16000):
    return [int(12000 * math.sin(2 * math.pi * pitch * i / rate) * math.sin(i * 3e-5 * pitch))
            for i in range(int(seconds * rate))]


def chunk(name, data, size=None):
    return name + struct.pack("<I", len(data) if size is None else size) + data + b"\0" * (len(data) % 2)


def wav(samples, rate=16000, channels=1, bits=16, tag=1, before=b"", size=None):
    form = struct.pack("<HHIIHH", tag, channels, rate, rate * channels * bits // 8, channels * bits // 8, bits)
    if tag == 0xfffe:
        form += struct.pack("<HHI", 22, bits, 4) + struct.pack("<H", 1) + bytes.fromhex("0000000010008000"
                                                                                       "00aa00389b71")
    body = b"WAVE" + before + chunk(b"fmt ", form) + chunk(b"data", struct.pack(f"<{len(samples)}h", *samples), size)
    return b"RIFF" + struct.pack("<I", len(body)) + body


def transcribe(file=None, **fields):
    return {"kind": "transcribe", "audio": base64.b64encode(wav(sound()) if file is None else file).decode(), **fields}
