"""What is asked and answered: question forms, answers as JSON, times in steps of 0.25 s, and the prompt's fixed parts."""
import json

from render import DESCRIPTIONS

SYSTEM = "Locate events in the video. Answer with JSON."
LIST_ALL = "List all events."
STEP = 0.25  # seconds; half a second alone would cost a 4 s event about 5 % of its overlap
# (third person, plain form) of what happens.
SUBJECTS = ["a red car", "a blue car", "a white car", "a yellow car", "a person", "a dog", "the lamp", "the door"]
VERBS = [("drives past", "drive past")] * 4 + [("walks by", "walk by"), ("runs past", "run past")]


def questions(kind):
    """Every form in which a type is asked for, the most usual first."""
    who, what = SUBJECTS[kind], DESCRIPTIONS[kind]
    if kind < 6:
        third, plain = VERBS[kind]
        forms = [f"When does {who} {plain}?", f"When did {who} {plain}?", f"At what time does {who} {plain}?",
                 f"At what time did {who} {plain}?", f"When is {who} visible?", f"When was {who} seen?"]
    else:
        state, change = (("on", "turn on"), ("open", "open"))[kind - 6]
        forms = [f"When is {who} {state}?", f"When was {who} {state}?", f"When does {who} {change}?",
                 f"When did {who} {change}?", f"At what time is {who} {state}?", f"At what time does {who} {change}?"]
    forms += [f"Find every moment when {what}.", f"Find all moments when {what}.", what, f"When: {what}?"]
    # As typed by people: a small first letter.
    return forms + [f[0].lower() + f[1:] for f in forms if f[0].isupper()]


def clock(seconds):
    steps = round(seconds / STEP)
    return f"{int(steps * STEP) // 60:02d}:{steps * STEP % 60:05.2f}"


def answer(events):
    """events: (type, start, end) in seconds from the window's origin, in the order in which they are told."""
    return json.dumps([{"start_time": clock(s), "end_time": clock(e), "description": DESCRIPTIONS[k]}
                       for k, s, e in events], separators=(",", ":"))


def parse(text):
    """[(start, end, description)] of an answer, or None when it is not one."""
    seconds = lambda t: 60 * int(t.split(":")[0]) + float(t.split(":")[1])
    try:
        return [(seconds(o["start_time"]), seconds(o["end_time"]), o["description"]) for o in json.loads(text)]
    except (ValueError, KeyError, TypeError, IndexError, AttributeError):
        return None
