"""What there is in the drawn world: things, places, colours, and the words people use for them."""

# ruff: noqa: E501  (two tables, a row a line)

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["COLOURS", "PLACES", "THINGS", "Place", "Thing"]

COLOURS = ("red", "blue", "white", "black", "green", "yellow", "orange", "pink", "purple", "brown")


@dataclass(frozen=True)
class Thing:
    """A kind of thing.

    Attributes:
        name: unique.
        sticker: code points of its Twemoji picture; for a person, of the face.
        kind: decides verbs, layout and how often it comes in numbers.
        size: height as a share of the picture's, at the depth of the middle.
        weight: how often it occurs where it belongs; long-tailed.
        places: names of the places where it belongs.
        nouns: (singular, plural), the usual word first.
        traits: "tint" comes in colours; "hold" people carry it; "seat:0.5" carries others at half its
            height; "roof" shelters; "back" is scenery behind others; "pair" is often seen in numbers.
        verbs: what it is seen doing, instead of what its kind usually does.
    """

    name: str
    sticker: str
    kind: str
    size: float
    weight: float
    places: frozenset[str]
    nouns: tuple[tuple[str, str], ...]
    traits: frozenset[str]
    verbs: tuple[str, ...]

    @property
    def seat(self) -> float | None:
        """Where others stand on it, as a share of its height; None where nothing does."""
        seats = [float(trait.removeprefix("seat:")) for trait in self.traits if trait.startswith("seat:")]
        return seats[0] if seats else None


@dataclass(frozen=True)
class Place:
    """A place; `words` are what people call it, with preposition, and `noun` is how they name it alone."""

    name: str
    weight: float
    words: tuple[str, ...]
    noun: str


PLACES = {
    place.name: place
    for place in (
        Place("street", 10, ("on the street", "on a city street", "on the road", "in the street"), "street"),
        Place("grass", 10, ("in the grass", "in a park", "on a green lawn", "on the grass"), "park"),
        Place("beach", 8, ("on the beach", "on a sandy beach", "at the beach", "on the sand"), "beach"),
        Place("table", 8, ("on a table", "on a wooden table", "on the kitchen table", "on top of a table"), "table"),
        Place("room", 6, ("in a living room", "in a room", "inside a house", "on the floor"), "living room"),
        Place("field", 6, ("in a field", "in a grassy field", "in a dry field", "in the wild"), "field"),
        Place("sea", 5, ("in the water", "in the ocean", "on the sea", "in the waves"), "body of water"),
        Place("snow", 4, ("in the snow", "on a snowy hill", "on a mountain", "on a snow covered slope"), "snowy hill"),
        Place("night", 3, ("at night", "in the dark", "on a street at night", "under the moon"), "city at night"),
        Place("forest", 3, ("in the woods", "in a forest", "near some trees", "among the trees"), "forest"),
        Place("sky", 2.5, ("in the sky", "in the air", "in a blue sky", "high above the clouds"), "cloudy sky"),
        Place("desert", 1.5, ("in the desert", "on the dry sand", "in a sandy desert", "on a dune"), "desert"),
    )
}  # fmt: skip

# name | sticker | kind | size | weight | places | nouns (plural after a slash where irregular) | traits | verbs
_PEOPLE = "street grass beach room field snow night forest desert"
_TABLE = f"""
man|1f468|person|.52|9|{_PEOPLE}|man/men, guy, person/people||
woman|1f469|person|.50|8|{_PEOPLE}|woman/women, lady, person/people||
boy|1f466|person|.40|6|{_PEOPLE}|boy, kid, child/children||
girl|1f467|person|.39|5|{_PEOPLE}|girl, kid, child/children||
old man|1f474|person|.50|1.8|{_PEOPLE}|old man/old men, elderly man/elderly men, man/men||
old woman|1f475|person|.47|1.5|{_PEOPLE}|old woman/old women, elderly lady, woman/women||
bearded man|1f9d4|person|.52|1.3|{_PEOPLE}|bearded man/bearded men, man with a beard/men with beards, man/men||
surfer|1f3c4-200d-2642-fe0f|athlete|.42|6|sea beach|surfer, man/men, person/people||surfing, riding a wave, riding a surfboard
skier|26f7|athlete|.42|7|snow|skier, person/people, man/men||skiing, skiing downhill, riding skis
snowboarder|1f3c2|athlete|.42|5|snow|snowboarder, person/people, man/men||snowboarding, riding a snowboard
cyclist|1f6b4-200d-2642-fe0f|athlete|.44|5|street grass|cyclist, man/men, person/people||riding a bike, riding a bicycle, biking
runner|1f3c3-200d-2642-fe0f|athlete|.44|4|street grass beach|man/men, runner, boy||running, running, jogging
walker|1f6b6-200d-2640-fe0f|athlete|.46|4|street grass beach night|woman/women, lady, girl||walking, taking a walk
rower|1f6a3-200d-2642-fe0f|athlete|.40|2.5|sea|man/men, person/people||rowing a boat, paddling a boat
swimmer|1f3ca-200d-2642-fe0f|athlete|.30|3|sea|swimmer, man/men, person/people||swimming
rider|1f3c7|athlete|.50|2|grass field|man/men, rider, person/people||riding a horse
dancer|1f483|athlete|.46|1.5|room night|woman/women, dancer||dancing
dog|1f415|animal|.29|12|grass beach street room snow|dog, puppy|tint pair|
cat|1f408|animal|.26|7|room street grass|cat, kitten|tint pair|
black cat|1f408-200d-2b1b|animal|.26|1.5|room night street|black cat, cat||
horse|1f40e|animal|.44|5|field grass|horse, pony|pair seat:.62|
cow|1f404|animal|.38|5|field grass|cow, animal|pair|
sheep|1f411|animal|.30|4|field grass|sheep/sheep, animal|pair|
pig|1f416|animal|.27|1|field|pig, animal|pair|
elephant|1f418|animal|.52|5|field|elephant|pair seat:.93|
giraffe|1f992|animal|.58|5|field|giraffe|pair|
zebra|1f993|animal|.42|4|field|zebra, animal|pair|
monkey|1f412|animal|.28|1.2|forest|monkey|pair|
rabbit|1f407|animal|.19|1.5|grass forest|rabbit, bunny|pair|
squirrel|1f43f|animal|.18|1.5|grass forest|squirrel||
camel|1f42a|animal|.44|4|desert|camel, animal|pair seat:.9|
turtle|1f422|animal|.18|.8|beach grass|turtle||
crab|1f980|animal|.16|1.5|beach|crab||
penguin|1f427|animal|.25|2|snow|penguin, bird|pair|
duck|1f986|bird|.18|3|sea grass|duck, bird|pair|
swan|1f9a2|bird|.22|1|sea|swan, bird|pair|
rooster|1f413|bird|.21|1.2|field grass|chicken, rooster|pair|
owl|1f989|bird|.21|1|forest night|owl, bird||sitting, looking around
parrot|1f99c|bird|.22|1|forest room|parrot, bird|tint|
bird|1f426|flier|.14|5|sky grass beach street|bird, small bird|tint pair|
whale|1f40b|fish|.36|1.2|sea|whale||
dolphin|1f42c|fish|.30|1.5|sea|dolphin|pair|
car|1f697|vehicle|.30|10|street night desert|car, vehicle|tint pair seat:.72 back|
jeep|1f699|vehicle|.32|2|street desert field|jeep, truck, car|tint seat:.78 back|
taxi|1f695|vehicle|.31|2|street night|taxi, yellow car|back|
bus|1f68c|vehicle|.42|4|street night|bus, city bus|back|
truck|1f69a|vehicle|.40|3|street|truck|tint back|
fire truck|1f692|vehicle|.40|1.2|street|fire truck, red truck|back|
motorcycle|1f3cd|vehicle|.30|5|street night desert|motorcycle, motorbike, bike|tint seat:.55|
bicycle|1f6b2|vehicle|.28|5|street grass|bicycle, bike|tint seat:.55|
scooter|1f6f5|vehicle|.27|1|street|scooter|tint seat:.5|
tractor|1f69c|vehicle|.40|1.2|field|tractor|tint back|
train|1f682|vehicle|.46|2.5|field snow|train|back|
sailboat|26f5|boat|.42|5|sea|sailboat, boat|pair|
ship|1f6a2|boat|.46|2|sea|ship, boat||
motorboat|1f6a4|boat|.34|2|sea|motorboat, boat|seat:.5|
canoe|1f6f6|boat|.30|1.5|sea|canoe, boat|seat:.5|
plane|2708|aircraft|.34|8|sky|airplane, plane||
helicopter|1f681|aircraft|.30|2|sky|helicopter|tint|
kite|1fa81|flier|.24|5|sky beach grass|kite|tint pair|
balloon|1f388|flier|.22|2|sky room grass|balloon|tint pair hold|
pizza|1f355|food|.32|6|table|slice of pizza/slices of pizza, pizza|pair|
hamburger|1f354|food|.28|3|table|hamburger, burger, sandwich|pair|
hot dog|1f32d|food|.28|2.5|table|hot dog|hold pair|
sandwich|1f96a|food|.28|3|table|sandwich|pair|
cake|1f382|food|.34|4|table|cake, birthday cake|seat:.85|
donut|1f369|food|.24|3|table|donut, doughnut|tint pair|
cookie|1f36a|food|.20|1|table|cookie|pair|
ice cream|1f366|food|.28|1.5|table|ice cream cone, ice cream/ice creams|hold pair|
apple|1f34e|food|.20|4|table|apple, fruit|tint pair hold|
banana|1f34c|food|.24|4|table|banana, fruit|pair hold|
orange|1f34a|food|.20|3|table|orange, fruit|pair|
strawberry|1f353|food|.18|1.2|table|strawberry, fruit|pair|
watermelon|1f349|food|.26|.8|table|slice of watermelon/slices of watermelon, watermelon|pair|
carrot|1f955|food|.24|1.5|table|carrot, vegetable|pair|
broccoli|1f966|food|.22|1.5|table|broccoli/broccoli, vegetable|pair|
coffee|2615|object|.24|3|table|cup of coffee/cups of coffee, coffee/coffees, mug|pair|
wine|1f377|object|.30|3|table|glass of wine/glasses of wine, wine glass/wine glasses|pair|
noodles|1f35c|food|.28|1.5|table|bowl of noodles/bowls of noodles, bowl of food/bowls of food||
bottle|1f37e|object|.38|1.2|table|bottle||
knife|1f52a|object|.26|1.5|table|knife/knives||
vase|1f3fa|object|.32|1.2|table room|vase||
laptop|1f4bb|object|.30|4|table room|laptop, computer|hold|
phone|1f4f1|object|.22|2|table|cell phone, phone|hold|
book|1f4d5|object|.24|3|table room|book|tint pair hold seat:.92|
clock|1f570|object|.28|1.5|table room|clock||
teddy bear|1f9f8|object|.27|3|room|teddy bear|hold pair|
guitar|1f3b8|object|.34|1|room|guitar|hold|
chair|1fa91|object|.38|5|room beach grass|chair, wooden chair|pair seat:.45|
couch|1f6cb|object|.42|6|room|couch, sofa, green couch|seat:.42|
bed|1f6cf|object|.40|4|room|bed|seat:.45|
tv|1f4fa|object|.34|3|room|television, tv|back|
plant|1fab4|object|.28|1.5|room|plant, potted plant|pair|
suitcase|1f9f3|object|.30|2|room street|suitcase, bag|tint pair seat:.8 hold|
backpack|1f392|object|.26|1|room grass forest|backpack, bag|tint hold|
box|1f4e6|object|.28|1|room street|box|seat:.85 pair|
umbrella|2602|object|.30|2|street beach|umbrella|tint hold|
beach umbrella|26f1|object|.48|4|beach|umbrella, beach umbrella|roof pair|
ball|26bd|object|.14|3|grass beach|soccer ball, ball|hold|
frisbee|1f94f|object|.13|2.5|grass beach|frisbee|hold|
skateboard|1f6f9|object|.22|2|street|skateboard|tint|
tent|26fa|object|.36|1.5|forest snow grass|tent|tint back|
campfire|1f525|object|.24|.8|forest night|fire, campfire||burning
snowman|26c4|object|.38|2|snow|snowman/snowmen||
tree|1f333|plant|.60|3|grass field street|tree, big tree|roof back pair|
palm tree|1f334|plant|.60|2.5|beach desert|palm tree, tree|roof back pair|
pine tree|1f332|plant|.58|3|snow forest|pine tree, tree|roof back pair|
cactus|1f335|plant|.42|3|desert|cactus/cacti|back pair|
flower|1f33b|plant|.30|1.5|grass field|flower, sunflower|pair hold|
house|1f3e0|building|.62|2|grass street snow field|house, home|back|
traffic light|1f6a6|building|.44|2|street night|traffic light|back|
stop sign|1f6d1|building|.24|1.5|street|stop sign, red sign|back|
rock|1faa8|plant|.24|1|desert forest beach|rock, large rock|seat:.85|
"""


def _plural(noun: str) -> str:
    if noun.endswith(("s", "x", "ch", "sh")):
        return noun + "es"
    if noun.endswith("y") and noun[-2] not in "aeiou":
        return noun[:-1] + "ies"
    return noun + "s"


def _thing(row: str) -> Thing:
    name, sticker, kind, size, weight, places, nouns, traits, verbs = row.split("|")
    pairs = (noun.strip().partition("/")[::2] for noun in nouns.split(","))
    return Thing(
        name=name,
        sticker=sticker,
        kind=kind,
        size=float(size),
        weight=float(weight),
        places=frozenset(places.split()),
        nouns=tuple((singular, plural or _plural(singular)) for singular, plural in pairs),
        traits=frozenset(traits.split()),
        verbs=tuple(verb.strip() for verb in verbs.split(",") if verb),
    )


THINGS = tuple(_thing(row) for row in _TABLE.strip().splitlines())
