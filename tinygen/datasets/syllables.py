"""p(syllable | the one before) = p(onset | its end) p(rime | onset, its tone): a grammar of names.

A name is a family name and one or two syllables, in the manner of romanised Korean: kimjihyeon,
seoyerae. A syllable is an onset and a rime. Like tones attract (vowel harmony), and what may begin
a syllable depends on whether the last one ended in a vowel. The weights are ours, chosen so that
names look natural; a chance is a weight over the sum of its table.
"""
FAMILIES = {"kim": 20, "lee": 14, "park": 9, "choi": 6, "jung": 5, "kang": 4, "jang": 4, "cho": 4,
            "seo": 4, "han": 4, "oh": 3, "shin": 3, "song": 3, "yu": 3, "na": 2, "ha": 2}

# onset: its weight, and the rimes it may meet
ONSETS = {"j": (9, "i in u un a ae eong"), "s": (9, "eo eong eon u un a ang o"),
          "h": (8, "a an ae o un ye yeon yun eon"), "m": (6, "i in a un yeong"),
          "y": (6, "u un e eon eong ae"), "w": (4, "on oo"), "d": (3, "o ong a ae"),
          "n": (2, "a ae"), "g": (2, "eon un yu"), "ch": (2, "ae an un")}
AFTER_VOWEL = {"r": (5, "a ae i in")}
AFTER_CONSONANT = {"": (3, "a i in eun")}         # no onset: "han" + "a" is also "ha" + "na"

RIMES = {"bright": {"a": 5, "ae": 4, "an": 2, "ang": 1, "o": 4, "on": 4, "ong": 1},
         "dark": {"eo": 4, "eong": 2, "eon": 2, "eun": 4, "u": 4, "un": 5, "oo": 5, "yeon": 5,
                  "yeong": 3, "yun": 4, "yu": 2},
         "neutral": {"i": 5, "in": 5, "e": 4, "ye": 2}}
HARMONY = 4                                       # a rime weighs more after its own tone, if any
SHORT = 0.1                                       # the chance of one syllable instead of two

START, END = "start", "end"


def normalised(weights):
    """w_k / sum w."""
    total = sum(weights.values())
    return {key: weight / total for key, weight in weights.items()}


def ends_in_vowel(text):
    return text[-1] in "aeiou"


def syllables(tone, after_vowel):
    """Every (syllable, its tone, its probability) that can follow this tone and this ending."""
    onsets = {**ONSETS, **(AFTER_VOWEL if after_vowel else AFTER_CONSONANT)}
    for onset, p in normalised({onset: weight for onset, (weight, _) in onsets.items()}).items():
        rimes = {(rime, own): weight * (HARMONY if own == tone != "neutral" else 1)
                 for own, table in RIMES.items() for rime, weight in table.items()
                 if rime in onsets[onset][1].split()}
        for (rime, own), q in normalised(rimes).items():
            yield onset + rime, own, p * q


def grammar():
    """state -> its arcs, a list of (text, next state, probability). Walks go from START to END.

    The states between are (how many syllables so far, the last tone, whether a vowel came last).
    """
    arcs = {START: [(family, (0, "neutral", ends_in_vowel(family)), p)
                    for family, p in normalised(FAMILIES).items()]}
    for tone in RIMES:
        for after_vowel in (False, True):
            first, second = arcs[0, tone, after_vowel], arcs[1, tone, after_vowel] = [], []
            for text, own, p in syllables(tone, after_vowel):
                first += [(text, END, p * SHORT)]
                first += [(text, (1, own, ends_in_vowel(text)), p * (1 - SHORT))]
                second += [(text, END, p)]
    return arcs
