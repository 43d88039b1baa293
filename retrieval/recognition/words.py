"""Recognitions, and what tuning has found, as people and programs read them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from ..gallery.conditions import Condition
from ..gallery.contract import GalleryReader
from ..names import pretty_name
from .class_names import name_columns
from .recognizer import FAIRLY_SURE, LIKELY, SURE, Candidate, Recognition
from .settings import FALSE_ALARMS, NOVELTIES, PriorSettings, Settings
from .tuning import accepting

NOTHING_ALIKE = 'unlike anything in this gallery'
TARGET = 0.97
_LISTED, _ENOUGH = 3, 0.8
_LATIN_GROUP = re.compile(r'(idae|inae|aceae|iformes|oidea)$', re.IGNORECASE)
_SCORES = dict(zip(NOVELTIES, ('support of the vote', 'distance to the class mean', 'ratio to the second class')))


class ClassName(NamedTuple):
    """How people call a class: its common name, and its Latin one, '' where that is not known."""

    common: str
    latin: str = ''

    def __str__(self) -> str:
        """Both: ``Laysan Albatross (Phoebastria immutabilis)``."""
        return f'{self.common} ({self.latin})' if self.latin else self.common


def read_names(gallery: GalleryReader, recognitions: Iterable[Recognition]) -> dict[str, ClassName]:
    """Names of the classes in answers, from the columns ``common_name`` and ``latin_name`` (or ``scientific_name``).

    A class without a common name has its label, without numbers and underscores.
    """
    wanted = dict.fromkeys(one.label for answer in recognitions for one in answer.candidates[:_LISTED])
    common, latin = name_columns(gallery)
    found = {}
    for label in wanted:
        metadata: Mapping[str, Any] = {}
        if common or latin:
            ids = gallery.ids([Condition('label', '=', label)])[:1]
            metadata = gallery.records(ids)[0].metadata if len(ids) else {}
        given = [next((str(metadata[one]) for one in names if metadata.get(one)), '') for names in (common, latin)]
        found[label] = ClassName(given[0] or pretty_name(label), given[1])
    return found


def describe_recognition(answer: Recognition, names: Mapping[str, ClassName] | None = None) -> str:
    """An answer as people say it: ``Laysan Albatross, fairly sure (7 of 10 neighbours, P = 0.86)``.

    Where counts by place and month are used, it says what they changed: ``..., P = 0.86); place and month raised it
    from 0.52 to 0.86``. ``names`` are those of :func:`read_names`; without, labels are made readable.
    """
    known = names or {}
    if answer.label is None:
        return NOTHING_ALIKE if answer.candidates else 'nothing to compare with: no neighbour has a label'
    return _describe_classes(answer, known) + _describe_effect(answer, known)


def _describe_effect(answer: Recognition, names: Mapping[str, ClassName]) -> str:
    """What place and month changed: the best class, or its probability."""
    effect, best = answer.prior, answer.candidates[0]
    if effect is None:
        return ''
    if not effect.used:
        return f'; without place and month: {effect.reason}'
    if effect.without[0].label != best.label:
        before = effect.without[0]
        return f'; without {effect.used}: {_name(before, names)} {_rounded(before.probability)}'
    old, new = _rounded(effect.without[0].probability), _rounded(best.probability)
    if old == new:
        return f'; {effect.used} changed nothing'
    which = (
        'it'
        if answer.level == 0 and (answer.probability is None or answer.probability >= LIKELY)
        else _name(best, names)
    )
    return f'; {effect.used} {"raised" if new > old else "lowered"} {which} from {old} to {new}'


def _describe_classes(answer: Recognition, known: Mapping[str, ClassName]) -> str:
    best = answer.candidates[0]
    if answer.level == 0 and (answer.probability is None or answer.probability >= LIKELY):
        count = f'{answer.agreeing} of {len(answer.neighbors)} neighbours'
        if answer.probability is None:
            return f'{_name(best, known)} ({count})'
        grade = next(word for least, word in _GRADES if answer.probability >= least)
        return f'{_name(best, known)}, {grade} ({count}, P = {_rounded(answer.probability)})'
    listed = _listed(answer.candidates)
    shown = [known.get(one.label, ClassName(pretty_name(one.label))) for one in listed]
    ending = _common_ending([one.common for one in shown]) if len(shown) > 1 else ''
    if answer.level > 0:
        group = pretty_name(answer.path[-1])
        ending = group if ending.casefold() != group.casefold() else ending
    elif sum(one.probability for one in listed) < FAIRLY_SURE:
        ending = ''  # too many others
    short = [one.common[: -len(ending)].strip() if _ends(one.common, ending) else str(one) for one in shown]
    parts = ', '.join(f'{name} {_rounded(one.probability)}' for name, one in zip(short, listed))
    which = 'species unsure' if any(one.latin for one in shown) else 'unsure which'
    return f'{_with_article(ending)}, {which} ({parts})' if ending else f'unsure ({parts})'


_GRADES = ((SURE, 'sure'), (FAIRLY_SURE, 'fairly sure'), (LIKELY, 'probably'))


def _name(candidate: Candidate, names: Mapping[str, ClassName]) -> str:
    return str(names.get(candidate.label, pretty_name(candidate.label)))


def _rounded(probability: float) -> str:
    """Two digits, which never say that something is certain or impossible."""
    return f'{min(max(probability, 0.01), 0.99):.2f}'


def _listed(candidates: list[Candidate]) -> list[Candidate]:
    """The first candidates, two or three, until they have most of the probability."""
    total, count = 0.0, 0
    for one in candidates[:_LISTED]:
        if count >= 2 and total >= _ENOUGH:
            break
        total, count = total + one.probability, count + 1
    return candidates[:count]


def _common_ending(names: list[str]) -> str:
    """The words at the end that all names share, if each has another before."""
    words = [name.split() for name in names]
    length = 0
    while length < min(map(len, words)) - 1 and len({one[-length - 1].casefold() for one in words}) == 1:
        length += 1
    return ' '.join(words[0][len(words[0]) - length :]) if length else ''


def _ends(name: str, ending: str) -> bool:
    return bool(ending) and name.casefold().endswith(f' {ending.casefold()}')


def _with_article(group: str) -> str:
    """A group with its article, in small letters; Latin families keep theirs: ``one of the Diomedeidae``."""
    if _LATIN_GROUP.search(group):
        return f'one of the {group}'
    text = ' '.join(word if word.isupper() else word[:1].lower() + word[1:] for word in group.split())
    return f'{"an" if text[:1].lower() in "aeiou" else "a"} {text}'


def format_recognition(path: str, answer: Recognition, names: Mapping[str, ClassName] | None = None) -> str:
    """One line: image, verdict if there is one, and the answer (:func:`describe_recognition`)."""
    return ': '.join([path, *([answer.verdict] if answer.verdict else []), describe_recognition(answer, names)])


def recognition_to_json(
    paths: list[str], answer: Recognition, names: Mapping[str, ClassName] | None = None
) -> dict[str, Any]:
    """A recognition and the paths of its images in types that JSON knows; ``label`` is None for unknown."""
    known = names or {}
    candidates = [
        dict(label=one.label, probability=one.probability, name=name.common, latin=name.latin)
        for one in answer.candidates
        for name in [known.get(one.label, ClassName(pretty_name(one.label)))]
    ]
    return dict(
        paths=paths,
        label=answer.label,
        level=answer.level,
        groups=list(answer.path[:-1]),
        probability=answer.probability,
        verdict=answer.verdict,
        words=describe_recognition(answer, names),
        candidates=candidates,
        agreeing=answer.agreeing,
        neighbors=answer.neighbors,
        prior=None if answer.prior is None else _effect_to_json(answer),
    )


def _effect_to_json(answer: Recognition) -> dict[str, Any]:
    """What place and month changed, with the probability that each candidate has without them."""
    effect: Any = answer.prior
    without = [dict(label=one.label, probability=one.probability) for one in effect.without]
    changed = bool(effect.used) and effect.without[0].label != answer.candidates[0].label
    return dict(
        used=effect.used,
        reason=effect.reason,
        cell=effect.cell,
        month=effect.month,
        changed_best=changed,
        without=without,
    )


# -- what tuning has found -------------------------------------------------------------------------------------------


def describe_settings(settings: Settings, accept: float = TARGET) -> str:
    """What was chosen, and what answers are worth, in sentences."""
    found = settings.measured
    how, other = ('class means', 'the vote') if settings.rule == 'means' else ('the vote', 'class means')
    alone = int(found.get('alone', 0))
    lines = [
        f'{settings.photos:,} photos of {settings.classes} classes were left out in turn'
        + (f'; {alone:,} more are alone in their class.' if alone else '.'),
        f'Best is {how} ({_describe_rule(settings)}): {found["accuracy"]:.1%} of the answers are right, log loss '
        f'{found["log_loss"]:.3f}. With {other} it is {found["other_accuracy"]:.1%}, log loss '
        f'{found["other_log_loss"]:.3f}; with a vote that is not tuned {found["plain_accuracy"]:.1%}.',
        f'Probabilities are off by {100 * found["ece"]:.1f} points (ECE).',
        describe_accepting(settings, accept),
        describe_novelty(settings),
        *([] if settings.prior is None else [describe_prior(settings.prior, accept)]),
    ]
    return '\n'.join(lines)


def _describe_rule(settings: Settings) -> str:
    if settings.rule == 'means':
        return f'temperature {settings.mean_temperature:.3g}, each shrunk by {settings.shrinkage:g} photos'
    cap = '' if settings.cap is None else f', {settings.cap} of a class at most'
    return f'of {settings.k} neighbours{cap}, temperature {settings.temperature:.3g}'


def describe_prior(prior: PriorSettings, accept: float = TARGET) -> str:
    """What place and month gain, on photos that were left out."""
    found = prior.measured
    if prior.weight == 0:
        return f'Place and month tell nothing of the {prior.photos:,} photos that have them: they do not count.'
    return (
        f'Of {prior.photos:,} photos with a place or date, {found["accuracy"]:.1%} are recognised with these counts '
        f'(weight {prior.weight:.2f}, floor {prior.floor:g}, commonness {prior.commonness:g}), log loss '
        f'{found["log_loss"]:.3f}; without, {found["photo_accuracy"]:.1%}, log loss {found["photo_log_loss"]:.3f}. '
        f'Probabilities are off by {100 * found["ece"]:.1f} points. {describe_accepting(prior, accept)}'
    )


def describe_accepting(settings: Settings | PriorSettings, share: float) -> str:
    """What part of the answers can be accepted so that a share of them is right."""
    which = 'photos of known classes' if isinstance(settings, Settings) else 'photos with a place or date'
    least, coverage = accepting(settings, share)
    if coverage == 0:
        return f'No answer is certain enough that {share:.0%} of those accepted would be right: look at each.'
    return (
        f'So that {share:.0%} of accepted answers are right, those with P of {least:.2f} or more are accepted: '
        f'{coverage:.0%} of {which}.'
    )


def describe_novelty(settings: Settings) -> str:
    """Whether the gallery can tell photos of unknown classes, in words."""
    best = settings.best_novelty
    if best is None:
        return 'There are too few classes to find out whether this gallery can tell unknown ones.'
    found = settings.novelty[best]
    alarms = f'at {FALSE_ALARMS:.0%} false alarms it catches {found.caught:.0%} of them'
    if settings.tells_unknown:
        text = f'This gallery can tell some unknown classes from known ones: {alarms}'
    else:
        text = f'This gallery cannot tell unknown classes from known ones: {alarms}'
    scores = ', '.join(
        f'{_SCORES[name]} {one.auroc:.2f} ± {one.auroc_spread:.2f}' for name, one in settings.novelty.items()
    )
    return f'{text} (± {found.caught_spread:.0%} over random splits of the classes). AUROC: {scores}.'
