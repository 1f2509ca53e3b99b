#!/usr/bin/env python3
"""Draws what a terminal showed, from stdin, as an SVG on stdout: tmux capture-pane -p | tools/terminal_svg.py TITLE"""
import html
import sys

CHAR_W, LINE_H, PAD, BAR = 7.8, 17, 14, 26


def svg(title, lines):
    width = int(max(len(line) for line in lines) * CHAR_W + 2 * PAD)
    height = BAR + len(lines) * LINE_H + 2 * PAD
    out = ['<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" role="img" aria-label="%s">'
           % (width, height, html.escape(title)),
           '<rect width="100%" height="100%" rx="8" fill="#1b1f27"/>',
           '<text x="%d" y="18" fill="#8b93a3" font-family="monospace" font-size="12">%s</text>'
           % (PAD, html.escape(title)),
           '<g font-family="DejaVu Sans Mono,Menlo,Consolas,monospace" font-size="13" fill="#d7dce5">']
    for i, line in enumerate(lines):
        if line:
            out.append('<text x="%d" y="%d" xml:space="preserve" textLength="%d">%s</text>'
                       % (PAD, BAR + PAD + i * LINE_H + 4, int(len(line) * CHAR_W), html.escape(line)))
    return "\n".join(out + ["</g>", "</svg>", ""])


def main():
    if len(sys.argv) != 2 or sys.argv[1] in ("-h", "--help"):
        print(__doc__)
        return 0 if len(sys.argv) == 2 else 2
    lines = [line.rstrip() for line in sys.stdin.read().splitlines()]
    while lines and not lines[-1]:
        lines.pop()
    if not lines:
        print("terminal_svg: nothing on stdin", file=sys.stderr)
        return 1
    sys.stdout.write(svg(sys.argv[1], lines))
    return 0


if __name__ == "__main__":
    sys.exit(main())
