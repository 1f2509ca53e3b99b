"""Everything at once, from a seed: tasks, cancels, newer attempts, broken lines, a slow reader; each task has one answer,
what was not touched says what it says alone, and nothing is left over."""
from parent import *

LONG = 1000000


def play(rng, p, expected, rounds):
    """Sends lines at random; what is due by id: the text, or the codes that may come."""
    due, endless, attempts = {}, [], {}
    for k in range(rounds):
        draw = rng.random()
        if draw < 0.6:
            i = rng.randrange(len(expected))
            due[f"t{k}"] = expected[i]
            p.send(f"t{k}", complete(f"caller {i}", max_tokens=1 + i % 30))
        elif draw < 0.7 and len(endless) < 5:
            due[f"e{k}"] = {"BATON_CANCELLED"}
            attempts[f"e{k}"] = 0
            endless.append(f"e{k}")
            p.send(f"e{k}", complete("endless", max_tokens=LONG))
        elif draw < 0.8 and endless:
            task = rng.choice(endless)
            if rng.random() < 0.5:
                attempts[task] += 1
            p.write(line_of(task, complete("endless", max_tokens=LONG), attempts[task]))
        elif draw < 0.9 and endless:
            p.cancel(endless.pop(rng.randrange(len(endless))))
        else:
            due[f"b{k}"] = {"BATON_INVALID"}
            p.pending.add(f"b{k}")
            p.write('{"task_id":"b%d","payload":{"kind":%s\n' % (k, rng.choice(("", "\x01", "}}}", "[" * 600))))
            p.cancel(f"nobody{k}")
    for task in endless:
        p.cancel(task)
    return due


@test
def each_task_has_one_answer_whatever_comes_between():
    rng = seed()
    model = "fake:len=2000000,step_us=200,ctx_train=3000000,abort_on_overlap=1"
    with Parent("-m", model, "--ctx", "4000000") as p:
        expected = [p.do("t", complete(f"caller {i}", max_tokens=1 + i % 30)).text() for i in range(40)]
    for workers, options in ((8, ()), (6, ("--contexts", "2", "--sequences", "2", "--owner", "thread")), (1, ())):
        with Parent("-m", model, "--ctx", "4000000" if workers == 1 else "100000", "--workers", str(workers), "--events",
                    rng.choice(("none", "all")), "--backlog", "100000", "--queue", "100000", "--queue-timeout", "never",
                    *options) as p:
            due = play(rng, p, expected, 60 if workers == 1 or SANITIZER else 250)
            for task, what in due.items():
                a = p.take(task)
                if isinstance(what, str):
                    equal(a.text(), what, task)
                else:
                    assert a.code() in what, (task, a)


if __name__ == "__main__":
    main()
