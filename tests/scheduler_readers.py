"""How cron, systemd and Kubernetes read the words of a command, by their documentation."""

from __future__ import annotations

import re

ESCAPES = {"\\": "\\", '"': '"', "'": "'", "s": " ", "n": "\n", "t": "\t"}


def what_cron_hands_on(command: str, unescapes: bool) -> str:
    r"""The part of a crontab's line that the shell gets.

    All versions end it at a bare %. Debian's (`unescapes` False) leaves \% to the shell; cronie turns \% into %, and
    two backslashes into one.
    """
    found, place = "", 0
    while place < len(command):
        pair = command[place : place + 2]
        if pair[0] == "%":
            break
        if pair[0] == "\\" and len(pair) == 2:
            found += pair[1] if unescapes and pair[1] in "%\\" else pair
            place += 2
            continue
        found += pair[0]
        place += 1
    return found


def systemd_words(text: str, variables: bool = True) -> list[str]:
    """The words of a line, by systemd.syntax(7) ("Quoting"), systemd.unit(5) ("Specifiers") and systemd.service(5)."""
    found, place = [], 0
    while place < len(text):
        if text[place] == " ":
            place += 1
            continue
        assert text[place : place + 2].rstrip() != ";", "a separator of commands"
        word, quote = "", text[place] if text[place] in "\"'" else ""
        place += len(quote)
        while place < len(text) and text[place] != (quote or " "):
            if text[place] == "\\":
                word, place = word + ESCAPES[text[place + 1]], place + 2
            else:
                assert quote or text[place] not in "\"'", "quotes within words are for nobody"
                word, place = word + text[place], place + 1
        assert not quote or text[place] == quote, "unbalanced quotes"
        place += len(quote)
        found.append(_literal(word, "%"))
    return [found[0], *(_literal(word, "$") for word in found[1:])] if variables else found


def _literal(word: str, sign: str) -> str:
    """`word` with doubled signs as single ones; a single one would be replaced by something else."""
    assert set(map(len, re.findall(re.escape(sign) + "+", word))) <= {2, 4, 6, 8, 10} | set(range(12, 99, 2)), word
    return word.replace(sign * 2, sign)


def kubernetes_word(word: str) -> str:
    """A word of a container's command after Kubernetes has put in variables, of which there are none."""
    assert not re.search(r"(?<!\$)(\$\$)*\$\(", word), word
    return word.replace("$$", "$")
