"""The same worker as bench/work_child.c, as it is written in Python: a pool of threads, and a lock around stdout."""
import json
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

lock = threading.Lock()


def say(message):
    line = json.dumps(message) + "\n"
    with lock:
        sys.stdout.write(line)
        sys.stdout.flush()


def work(line):
    task = json.loads(line)
    try:
        result = {"words": len(task["payload"]["text"].split())}
        say({"task_id": task["task_id"], "result": result, "error": None, "retry": False})
    except Exception as e:
        say({"task_id": task["task_id"], "result": None, "error": str(e), "retry": False})


def main():
    say({"status": "ready"})
    with ThreadPoolExecutor(int(sys.argv[1])) as pool:
        for line in sys.stdin:
            pool.submit(work, line)


main()
