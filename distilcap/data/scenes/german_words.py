"""German words of the drawn world, by the names in `world`.

A noun is "Hund m Hunde": perhaps adjectives' stems, then the noun, its gender and its plural. Genders: m, f,
n, and w for weak masculines, whose singular is the plural's form in all cases but the nominative ("der Affe,
den Affen"). A verb is "fährt fahren Fahrrad": singular, plural, and what follows the verb in a main clause.
"""

from __future__ import annotations

from typing import Final

__all__ = ["COLOURS", "KIND_VERBS", "LIGHT", "NOUNS", "PLACES", "PLACE_NOUNS", "THING_VERBS"]

COLOURS: Final = {
    "red": "rot",
    "blue": "blau",
    "white": "weiß",
    "black": "schwarz",
    "green": "grün",
    "yellow": "gelb",
    "orange": "orangefarben",
    "pink": "rosafarben",
    "purple": "violett",
    "brown": "braun",
}

PLACES: Final = {
    "street": ("auf der Straße", "auf einer Straße", "in der Stadt", "am Straßenrand"),
    "grass": ("auf einer Wiese", "im Gras", "in einem Park", "auf dem Rasen"),
    "beach": ("am Strand", "an einem Sandstrand", "im Sand"),
    "table": ("auf einem Tisch", "auf einem Holztisch", "auf dem Küchentisch"),
    "room": ("in einem Wohnzimmer", "in einem Zimmer", "in einem Haus", "auf dem Boden"),
    "field": ("auf einem Feld", "auf einer Weide", "auf einem trockenen Feld", "in der Natur"),
    "sea": ("im Wasser", "im Meer", "auf dem Meer", "in den Wellen"),
    "snow": ("im Schnee", "auf einem verschneiten Hügel", "auf einem Berg", "auf einem verschneiten Hang"),
    "night": ("in der Nacht", "im Dunkeln", "nachts auf einer Straße", "im Mondlicht"),
    "forest": ("im Wald", "in einem Wald", "zwischen den Bäumen"),
    "sky": ("am Himmel", "in der Luft", "am blauen Himmel", "hoch über den Wolken"),
    "desert": ("in der Wüste", "auf trockenem Sand", "in einer Sandwüste", "auf einer Düne"),
}
PLACE_NOUNS: Final = {
    "street": "eine Straße",
    "grass": "ein Park",
    "beach": "ein Strand",
    "table": "ein Tisch",
    "room": "ein Wohnzimmer",
    "field": "ein Feld",
    "sea": "das Meer",
    "snow": "ein verschneiter Hügel",
    "night": "eine Stadt bei Nacht",
    "forest": "ein Wald",
    "sky": "ein bewölkter Himmel",
    "desert": "eine Wüste",
}
LIGHT: Final = {
    "day": ("an einem sonnigen Tag", "bei schönem Wetter"),
    "evening": ("bei Sonnenuntergang", "am Abend"),
    "grey": ("an einem bewölkten Tag", "unter grauem Himmel"),
}

KIND_VERBS: Final = {
    "person": ("steht stehen", "steht stehen", "posiert posieren", "schaut schauen in die Kamera"),
    "animal": ("steht stehen", "steht stehen", "läuft laufen", "liegt liegen"),
    "bird": ("steht stehen", "sitzt sitzen", "läuft laufen"),
    "flier": ("fliegt fliegen",),
    "aircraft": ("fliegt fliegen",),
    "vehicle": ("steht stehen", "parkt parken", "fährt fahren"),
    "boat": ("fährt fahren", "treibt treiben"),
    "fish": ("schwimmt schwimmen", "springt springen"),
    "food": ("liegt liegen",),
    "object": ("steht stehen", "liegt liegen"),
    "plant": ("steht stehen", "wächst wachsen"),
    "building": ("steht stehen",),
}
THING_VERBS: Final = {
    "surfer": ("surft surfen", "reitet reiten auf einer Welle"),
    "skier": ("fährt fahren Ski",),
    "snowboarder": ("fährt fahren Snowboard",),
    "cyclist": ("fährt fahren Fahrrad", "fährt fahren Rad"),
    "runner": ("rennt rennen", "läuft laufen", "joggt joggen"),
    "walker": ("geht gehen spazieren", "läuft laufen"),
    "rower": ("rudert rudern", "paddelt paddeln"),
    "swimmer": ("schwimmt schwimmen",),
    "rider": ("reitet reiten", "reitet reiten auf einem Pferd"),
    "dancer": ("tanzt tanzen",),
    "owl": ("sitzt sitzen",),
    "campfire": ("brennt brennen",),
    "rock": ("liegt liegen",),
}

_TABLE: Final = """
man|Mann m Männer, Person f Personen
woman|Frau f Frauen, Dame f Damen, Person f Personen
boy|Junge w Jungen, Kind n Kinder
girl|Mädchen n Mädchen, Kind n Kinder
old man|alt Mann m Männer, älter Mann m Männer, Mann m Männer
old woman|alt Frau f Frauen, älter Dame f Damen, Frau f Frauen
bearded man|bärtig Mann m Männer, Mann m Männer
surfer|Surfer m Surfer, Mann m Männer, Person f Personen
skier|Skifahrer m Skifahrer, Person f Personen, Mann m Männer
snowboarder|Snowboarder m Snowboarder, Person f Personen, Mann m Männer
cyclist|Radfahrer m Radfahrer, Mann m Männer, Person f Personen
runner|Mann m Männer, Läufer m Läufer, Junge w Jungen
walker|Frau f Frauen, Dame f Damen, Mädchen n Mädchen
rower|Mann m Männer, Person f Personen
swimmer|Schwimmer m Schwimmer, Mann m Männer, Person f Personen
rider|Mann m Männer, Reiter m Reiter, Person f Personen
dancer|Frau f Frauen, Tänzerin f Tänzerinnen
dog|Hund m Hunde, Welpe w Welpen
cat|Katze f Katzen, Kätzchen n Kätzchen
black cat|schwarz Katze f Katzen, Katze f Katzen
horse|Pferd n Pferde, Pony n Ponys
cow|Kuh f Kühe, Tier n Tiere
sheep|Schaf n Schafe, Tier n Tiere
pig|Schwein n Schweine, Tier n Tiere
elephant|Elefant w Elefanten
giraffe|Giraffe f Giraffen
zebra|Zebra n Zebras, Tier n Tiere
monkey|Affe w Affen
rabbit|Kaninchen n Kaninchen, Hase w Hasen
squirrel|Eichhörnchen n Eichhörnchen
camel|Kamel n Kamele, Tier n Tiere
turtle|Schildkröte f Schildkröten
crab|Krabbe f Krabben
penguin|Pinguin m Pinguine, Vogel m Vögel
duck|Ente f Enten, Vogel m Vögel
swan|Schwan m Schwäne, Vogel m Vögel
rooster|Huhn n Hühner, Hahn m Hähne
owl|Eule f Eulen, Vogel m Vögel
parrot|Papagei m Papageien, Vogel m Vögel
bird|Vogel m Vögel, klein Vogel m Vögel
whale|Wal m Wale
dolphin|Delfin m Delfine
car|Auto n Autos, Fahrzeug n Fahrzeuge
jeep|Geländewagen m Geländewagen, Auto n Autos
taxi|Taxi n Taxis, gelb Auto n Autos
bus|Bus m Busse, Stadtbus m Stadtbusse
truck|Lastwagen m Lastwagen
fire truck|Feuerwehrauto n Feuerwehrautos, rot Lastwagen m Lastwagen
motorcycle|Motorrad n Motorräder
bicycle|Fahrrad n Fahrräder, Rad n Räder
scooter|Motorroller m Motorroller
tractor|Traktor m Traktoren
train|Zug m Züge
sailboat|Segelboot n Segelboote, Boot n Boote
ship|Schiff n Schiffe, Boot n Boote
motorboat|Motorboot n Motorboote, Boot n Boote
canoe|Kanu n Kanus, Boot n Boote
plane|Flugzeug n Flugzeuge
helicopter|Hubschrauber m Hubschrauber
kite|Drachen m Drachen
balloon|Ballon m Ballons, Luftballon m Luftballons
pizza|Pizzastück n Pizzastücke, Pizza f Pizzas
hamburger|Hamburger m Hamburger, Burger m Burger
hot dog|Hotdog m Hotdogs
sandwich|Sandwich n Sandwiches
cake|Kuchen m Kuchen, Geburtstagskuchen m Geburtstagskuchen
donut|Donut m Donuts
cookie|Keks m Kekse
ice cream|Eiswaffel f Eiswaffeln
apple|Apfel m Äpfel, Frucht f Früchte
banana|Banane f Bananen, Frucht f Früchte
orange|Orange f Orangen, Frucht f Früchte
strawberry|Erdbeere f Erdbeeren, Frucht f Früchte
watermelon|Wassermelone f Wassermelonen
carrot|Karotte f Karotten, Möhre f Möhren
broccoli|Brokkoli m Brokkolis
coffee|Kaffeetasse f Kaffeetassen, Tasse f Tassen
wine|Weinglas n Weingläser
noodles|Nudelsuppe f Nudelsuppen, Schüssel f Schüsseln
bottle|Flasche f Flaschen
knife|Messer n Messer
vase|Vase f Vasen
laptop|Laptop m Laptops, Computer m Computer
phone|Handy n Handys, Telefon n Telefone
book|Buch n Bücher
clock|Uhr f Uhren
teddy bear|Teddybär w Teddybären
guitar|Gitarre f Gitarren
chair|Stuhl m Stühle, Holzstuhl m Holzstühle
couch|Sofa n Sofas, Couch f Couchs, grün Sofa n Sofas
bed|Bett n Betten
tv|Fernseher m Fernseher
plant|Pflanze f Pflanzen, Topfpflanze f Topfpflanzen
suitcase|Koffer m Koffer, Tasche f Taschen
backpack|Rucksack m Rucksäcke, Tasche f Taschen
box|Kiste f Kisten, Karton m Kartons
umbrella|Regenschirm m Regenschirme, Schirm m Schirme
beach umbrella|Sonnenschirm m Sonnenschirme, Schirm m Schirme
ball|Fußball m Fußbälle, Ball m Bälle
frisbee|Frisbee n Frisbees
skateboard|Skateboard n Skateboards
tent|Zelt n Zelte
campfire|Lagerfeuer n Lagerfeuer, Feuer n Feuer
snowman|Schneemann m Schneemänner
tree|Baum m Bäume, groß Baum m Bäume
palm tree|Palme f Palmen, Baum m Bäume
pine tree|Tanne f Tannen, Baum m Bäume
cactus|Kaktus m Kakteen
flower|Blume f Blumen, Sonnenblume f Sonnenblumen
house|Haus n Häuser
traffic light|Ampel f Ampeln
stop sign|Stoppschild n Stoppschilder, rot Schild n Schilder
rock|Felsen m Felsen, groß Stein m Steine
"""
NOUNS: Final = {
    name: tuple(tuple(noun.split()) for noun in nouns.split(","))
    for name, nouns in (row.split("|") for row in _TABLE.strip().splitlines())
}
"""Of each thing: (adjectives…, noun, gender, plural), the usual first."""
