#!/usr/bin/env python3
"""Tasks per second through `baton work`'s protocol, at 1, 2, 4 and 8 workers: a CPU-light task (what the protocol costs)
in C on baton/work.h, beside the same worker in Python with a ThreadPoolExecutor and a lock around stdout, and as
processes behind --exec; then the built-in model, beside one after the other.

    bench/work.py [BUILD]       the build's folder: build/release

Ratios are what to read: machines differ. Best of three."""
import json
import os
import subprocess
import sys
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
BUILD = sys.argv[1] if len(sys.argv) > 1 else os.path.join(HERE, "..", "build", "release")
WORKERS = (1, 2, 4, 8)


def lines_of(payloads):
    return b"".join(json.dumps({"task_id": f"t{i}", "type": "task", "payload": p, "retry_count": 0, "max_retry": 0,
                                "queue": "q.default"}).encode() + b"\n" for i, p in enumerate(payloads))


def rate(command, payloads, at_once=512):
    """Answers per second, with at most so many tasks outstanding, as fast as they go."""
    lines = lines_of(payloads).splitlines(keepends=True)
    child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, bufsize=0)
    line = child.stdout.readline()
    if b'"ready"' not in line:
        raise SystemExit(f"{command} did not become ready")
    room = threading.Semaphore(at_once // 32)

    def feed():
        for i in range(0, len(lines), 32):
            room.acquire()
            child.stdin.write(b"".join(lines[i:i + 32]))
            child.stdin.flush()

    began = time.monotonic()
    feeder = threading.Thread(target=feed)
    feeder.start()
    done = failed = 0
    while done < len(lines):
        piece = os.read(child.stdout.fileno(), 1 << 20)
        if not piece:
            raise SystemExit(f"{command} ended")
        failed += piece.count(b'"result": null') + piece.count(b'"result":null')
        before, done = done, done + piece.count(b"\n")
        for _ in range(done // 32 - before // 32):
            room.release()
    if failed:
        raise SystemExit(f"{command}: {failed} tasks failed")
    took = time.monotonic() - began
    feeder.join()
    child.stdin.close()
    child.wait()
    return len(lines) / took


def in_turn(commands, payloads):
    """The best of three of each, in turn: the machine's speed drifts."""
    best = [0.0] * len(commands)
    for _ in range(3):
        for i, command in enumerate(commands):
            best[i] = max(best[i], rate(command, payloads))
    return best


def light():
    payloads = [{"kind": "count", "text": "so many words as there are in a line " * 4, "n": i} for i in range(20000)]
    child, baton = os.path.join(BUILD, "bin", "bench_work_child"), os.path.join(BUILD, "bin", "baton")
    python = [sys.executable, os.path.join(HERE, "work_child.py")]
    print("A CPU-light task: tasks/s")
    print(f"{'workers':>8} {'C, baton/work.h':>16} {'Python, threads':>16} {'Python, --exec':>16} {'C / Python':>11}")
    for n in WORKERS:
        c, p, e = in_turn([[child, str(n)], [*python, str(n)],
                           [baton, "work", "--backlog", "100000", "--workers", str(n), "--exec", " ".join([*python, "1"])]],
                          payloads)
        print(f"{n:8} {c:16.0f} {p:16.0f} {e:16.0f} {c / p:10.1f}x", flush=True)


def model():
    payloads = [{"kind": "chat", "messages": [{"role": "user", "content": f"{i}: tell me a story about a key."}],
                 "temperature": 0, "max_tokens": 64} for i in range(64)]
    rates = in_turn([[os.path.join(BUILD, "bin", "baton"), "work", "--workers", str(n), "--ctx", "256", "--threads", "1",
                      "--backlog", "1000"] for n in WORKERS], payloads)
    print("\nThe built-in model, 64 tokens a task, one ggml thread: tasks/s")
    print(f"{'workers':>8} {'1 x N, batched':>16} {'beside sequential':>18}")
    for n, r in zip(WORKERS, rates):
        print(f"{n:8} {r:16.1f} {r / rates[0]:17.2f}x")


light()
model()
