"""The home and the vehicle whose devices the demo's commands name.

A third of the devices is kept for the held-out questions: their names must be copied, they
cannot be remembered.
"""

AREAS = (
    "attic", "back yard", "balcony", "basement", "bathroom", "bedroom", "camper van", "car",
    "conservatory", "dining room", "front yard", "garage", "greenhouse", "guest room", "gym",
    "hallway", "home office", "kitchen", "laundry room", "library", "living room",
    "master bedroom", "nursery", "pantry", "patio", "playroom", "porch", "studio", "utility room",
    "workshop",
)  # fmt: skip

FLOORS = ("ground", "first", "second", "third", "top", "lower", "upper", "middle")

# None ends in lamp or light: "turn on the {area} <light>" would say the same.
THINGS: dict[str, tuple[str, ...]] = {
    "light": (
        "chandelier", "lava globe", "spots", "wall washer", "neon strip", "christmas tree",
        "lantern", "pendant", "candelabra", "sconce", "light bar", "uplighter", "neon sign",
        "paper moon", "disco ball", "torchiere", "flood beam", "light tube", "star projector",
        "brass dome", "arc stand", "dashboard glow", "salt crystal", "bulb cluster",
    ),
    "switch": (
        "kettle", "coffee machine", "seat heater", "towel warmer", "fish tank pump", "printer",
        "rear defroster", "dehumidifier", "electric blanket", "washing machine", "slow cooker",
        "sprinkler", "air purifier", "steering wheel heater", "bread maker", "pond fountain",
        "dash cam", "humidifier", "battery charger", "water softener", "game console",
    ),
    "fan": (
        "ceiling fan", "tower fan", "exhaust fan", "extractor", "box fan", "table fan",
        "ventilator", "roof blower", "pedestal fan", "cabin blower", "window fan", "turbo fan",
    ),
    "media_player": (
        "soundbar", "television", "record player", "car stereo", "smart speaker", "projector",
        "radio", "jukebox", "home cinema", "shower speaker", "boombox", "headrest screen",
        "turntable", "media box", "subwoofer",
    ),
    "climate": (
        "thermostat", "heat pump", "air conditioner", "radiator", "cabin heater", "wall heater",
        "floor heating", "mini split", "boiler", "patio heater", "chiller", "parking heater",
    ),
    "cover": (
        "driver window", "sunroof", "tailgate", "roller blind", "projector screen", "skylight",
        "passenger window", "canopy", "dog flap", "roof hatch", "bay window", "velvet curtain",
        "convertible top", "pool cover", "stable door", "loft hatch",
    ),
    "valve": ("irrigation valve", "main water valve", "gas tap", "garden tap", "drip line"),
    "lock": (
        "front door", "back gate", "safe", "tool chest", "charge port", "glove box", "side door",
        "bike shed", "wine cellar", "fuel cap", "deadbolt", "gun cabinet",
    ),
}  # fmt: skip

# What tells two of a kind apart: "the left sunroof", "grandma's kettle".
MARKS = (
    "left", "right", "old", "new", "big", "small", "grandma's", "spare", "corner", "red", "green",
    "silver", "noisy", "second", "upper", "lower", "maria's", "oak", "travel", "guest", "tall",
)  # fmt: skip

# What a person says freely, where the grammar only marks a gap.
SPOKEN: dict[str, tuple[str, ...]] = {
    "timer_name": (
        "pasta", "laundry", "egg", "nap", "tea", "pizza", "workout", "bread", "parking",
        "homework", "charging", "meeting", "rice", "yoga", "roast", "cookie", "shower", "study",
    ),
}  # fmt: skip

# Numbers a person would say; the grammar allows many more.
SPOKEN_NUMBERS: dict[str, tuple[float, ...]] = {
    "temperature": (*range(14, 29), 18.5, 19.5, 20.5, 21.5, 22.5),
    "position": tuple(range(5, 100, 5)),
    "brightness": tuple(range(3, 101)),
    "fan_speed": tuple(range(10, 101, 5)),
    "volume": tuple(range(2, 101)),
    "color_temperature": tuple(range(2000, 6600, 100)),
    "timer_seconds": tuple(range(5, 60)),
    "timer_minutes": tuple(range(2, 60)),
    "timer_hours": tuple(range(2, 13)),
}


def _named(things: tuple[str, ...], first: int) -> tuple[str, ...]:
    """Each thing by its plain name and under two marks."""
    marks = [MARKS[(first + 7 * i) % len(MARKS)] for i in range(2 * len(things))]
    marked = (f"{mark} {thing}" for mark, thing in zip(marks, things * 2, strict=True))
    return (*things, *marked)


# A third of each kind of thing is named by held-out questions only.
HELDOUT_DEVICES = {
    domain: _named(things[2::3], first) for first, (domain, things) in enumerate(THINGS.items())
}
TRAIN_DEVICES = {
    domain: _named(tuple(t for i, t in enumerate(things) if i % 3 != 2), first)
    for first, (domain, things) in enumerate(THINGS.items())
}
DEVICES = {domain: TRAIN_DEVICES[domain] + HELDOUT_DEVICES[domain] for domain in THINGS}
