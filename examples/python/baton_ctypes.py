#!/usr/bin/env python3
"""libbaton from Python with nothing but ctypes: several threads ask one model, and one answer is streamed.

    baton_ctypes.py [MODEL.gguf]        without a model: the built-in one

BATON_LIBRARY names the library where it is not installed. A structure below begins with its size, as in C: the library
fills in the fields that it does not know of. ctypes releases the interpreter's lock during a call, so other Python
threads run while one waits for an answer or, with the owner on the caller's thread, computes it.
"""
import ctypes
import os
import sys
import threading

OK, AGAIN, END = 0, 2, 1
WAIT = 1
OWNER_THREAD = 1
AS_POLICY, MS_AS_POLICY = -1, -(1 << 63)


class Error(ctypes.Structure):
    _fields_ = [("status", ctypes.c_int), ("text", ctypes.c_char * 512)]


class Policy(ctypes.Structure):
    _fields_ = [("size", ctypes.c_size_t), ("contexts", ctypes.c_int), ("sequences", ctypes.c_int),
                ("when_full", ctypes.c_int), ("queue", ctypes.c_int), ("queue_ms", ctypes.c_int64),
                ("run_ms", ctypes.c_int64), ("owner", ctypes.c_int)]


class LlamaParams(ctypes.Structure):
    _fields_ = [("size", ctypes.c_size_t), ("chat_template", ctypes.c_char_p), ("ctx", ctypes.c_int),
                ("threads", ctypes.c_int), ("gpu_layers", ctypes.c_int), ("exact", ctypes.c_int),
                ("progress", ctypes.c_void_p), ("progress_arg", ctypes.c_void_p), ("policy", ctypes.POINTER(Policy))]


class Message(ctypes.Structure):
    _fields_ = [("role", ctypes.c_char_p), ("content", ctypes.c_char_p)]


class Ask(ctypes.Structure):
    _fields_ = [("size", ctypes.c_size_t), ("request", ctypes.c_void_p), ("prompt", ctypes.c_char_p),
                ("messages", ctypes.POINTER(Message)), ("n_messages", ctypes.c_size_t),
                ("tokens", ctypes.c_void_p), ("n_tokens", ctypes.c_size_t), ("max_tokens", ctypes.c_int),
                ("stops", ctypes.c_void_p), ("n_stops", ctypes.c_size_t), ("sampling", ctypes.c_void_p)]


class Outcome(ctypes.Structure):
    _fields_ = [("status", ctypes.c_int), ("finish", ctypes.c_int), ("prompt_tokens", ctypes.c_uint32),
                ("reused_tokens", ctypes.c_uint32), ("answer_tokens", ctypes.c_uint32), ("queue_ns", ctypes.c_int64),
                ("run_ns", ctypes.c_int64), ("text", ctypes.c_char * 256), ("prefill_ns", ctypes.c_int64),
                ("decode_ns", ctypes.c_int64), ("prompt_per_s", ctypes.c_double), ("answer_per_s", ctypes.c_double)]


class Result(ctypes.Structure):
    _fields_ = [("text", ctypes.c_char_p), ("len", ctypes.c_size_t), ("outcome", Outcome)]


class Delta(ctypes.Structure):
    _fields_ = [("text", ctypes.c_char_p), ("len", ctypes.c_size_t), ("tokens", ctypes.c_uint32)]


def library():
    lib = ctypes.CDLL(os.environ.get("BATON_LIBRARY", "libbaton.so.0"))
    handle, error = ctypes.c_void_p, ctypes.POINTER(Error)
    for name, result, *args in (
            ("version", ctypes.c_char_p), ("status_name", ctypes.c_char_p, ctypes.c_int),
            ("llama_open", ctypes.c_int, ctypes.POINTER(handle), ctypes.c_char_p, ctypes.POINTER(LlamaParams), error),
            ("llama_close", None, ctypes.POINTER(handle)),
            ("llama_generate", ctypes.c_int, handle, ctypes.POINTER(Ask), ctypes.POINTER(Result), error),
            ("result_free", None, ctypes.POINTER(Result)),
            ("llama_stream", ctypes.c_int, handle, ctypes.POINTER(Ask), ctypes.POINTER(handle), error),
            ("stream_next", ctypes.c_int, handle, ctypes.c_int64, ctypes.POINTER(Delta)),
            ("stream_close", ctypes.c_int, ctypes.POINTER(handle), ctypes.POINTER(Outcome))):
        function = getattr(lib, "baton_" + name)
        function.restype, function.argtypes = result, args
    return lib


class Refused(Exception):
    """A status other than BATON_OK, with baton's line of text: what happened, who is in the way, and the cure."""


class Llama:
    """A model under the policy "wait", `sequences` answers at once in one batch. Any thread may call any method."""

    def __init__(self, path=None, sequences=4):
        self.lib, self.handle = library(), ctypes.c_void_p()
        policy = Policy(ctypes.sizeof(Policy), 1, sequences, WAIT, 64, -1, -1, OWNER_THREAD)
        params = LlamaParams(ctypes.sizeof(LlamaParams), None, 512, 1, 0, -1, None, None, ctypes.pointer(policy))
        error = Error()
        self.check(self.lib.baton_llama_open(self.handle, path and path.encode(), params, error), error)

    def check(self, status, error):
        if status != OK:
            raise Refused(f"{self.lib.baton_status_name(status).decode()}: {error.text.decode()}")

    @staticmethod
    def ask(question, max_tokens):
        message = Message(b"user", question.encode())
        return Ask(ctypes.sizeof(Ask), None, None, ctypes.pointer(message), 1, None, 0, max_tokens, None, 0, None)

    def generate(self, question, max_tokens=48):
        result, error = Result(), Error()
        try:
            self.check(self.lib.baton_llama_generate(self.handle, self.ask(question, max_tokens), result, error), error)
            return result.text.decode()
        finally:
            self.lib.baton_result_free(result)

    def stream(self, question, max_tokens=48):
        """Pieces of the answer. Leaving the loop early closes the generator, which cancels this request and no other."""
        stream, delta, outcome, error = ctypes.c_void_p(), Delta(), Outcome(), Error()
        self.check(self.lib.baton_llama_stream(self.handle, self.ask(question, max_tokens), stream, error), error)
        try:
            while True:
                status = self.lib.baton_stream_next(stream, -1, delta)
                if status == END:
                    break
                if status != OK:
                    raise Refused(self.lib.baton_status_name(status).decode())
                yield delta.text.decode()
        finally:
            self.lib.baton_stream_close(stream, outcome)
        if outcome.status != OK:
            raise Refused(outcome.text.decode())

    def close(self):
        self.lib.baton_llama_close(self.handle)


def main():
    llama = Llama(sys.argv[1] if len(sys.argv) > 1 else None)
    questions = ["Tell me a story about a key.", "What is a lease?", "Tell me a story about a bell."]
    answers = {}

    def ask(question):
        answers[question] = llama.generate(question)

    threads = [threading.Thread(target=ask, args=(question,)) for question in questions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for question in questions:
        print(f"{question}\n  {answers[question]}")
    pieces = list(llama.stream(questions[0]))
    print(f"streamed: {''.join(pieces)}")
    early = llama.stream(questions[2])
    next(early)
    early.close()
    print(f"the same, streamed: {''.join(pieces) == answers[questions[0]]}", file=sys.stderr)
    llama.close()


if __name__ == "__main__":
    main()
