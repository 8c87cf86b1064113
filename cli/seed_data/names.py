"""Small tables of words from which the demo data is drawn.

People and companies are invented. Telephone numbers come from ranges that national authorities keep free for
fiction, e-mail addresses and web sites end in `.example`, so nothing here can reach anybody.
"""


def _words(text: str) -> tuple[str, ...]:
    """The words of `text`, which has commas between them."""
    return tuple(" ".join(word.split()) for word in text.split(","))


FIRST_NAMES = _words(
    """
    Adèle, Agnes, Aino, Alba, Aleš, Amélie, Anders, André, Anja, Anneke, Astrid, Bárbara, Bastien,
    Beatriz, Bjørn, Bram, Brigita, Camille, Carmen, Cédric, Chloé, Clara, Daan, Dagmar, David, Dražen,
    Elena, Elif, Émile, Emma, Erik, Eszter, Femke, Fiona, Freya, Gaël, Gonçalo, Greta, Håkon, Hanna,
    Hélène, Henrik, Ines, Ingrid, Iris, Isaac, Jana, Jesús, Joana, Jonas, José, Jürgen, Kaja, Karel,
    Katarzyna, Kerstin, Laia, Lars, Léa, Lena, Liam, Lucía, Łukasz, Maarten, Magda, Maja, Manon, María,
    Marek, Marta, Matteo, Mette, Mikael, Milo, Nadia, Niamh, Nikos, Noémie, Nora, Oisín, Olivia, Otto,
    Pablo, Paul, Pernille, Piotr, Rafael, Renée, Ronja, Rosa, Ruben, Šárka, Saskia, Séverine, Sigrid,
    Simon, Sofia, Søren, Stefan, Sven, Tamás, Théo, Thijs, Tomáš, Ulla, Valeria, Vera, Viktor, Wanda,
    Yara, Yves, Zoë
    """
)

LAST_NAMES = _words(
    """
    Aguilar, Ahlgren, Almeida, Andersen, Arnaud, Bauer, Beaumont, Berg, Bertrand, Blanco, Boström,
    Bouchard, Brandt, Brouwer, Cabrera, Castro, Černý, Chevalier, Claesson, Coelho, Cortés, Dahl, de Boer,
    de Vries, Delgado, Dijkstra, Domínguez, Dubois, Dvořák, Eriksen, Farkas, Ferreira, Fischer, Fontaine,
    Friis, Fuentes, Gallagher, García, Gautier, Gómez, Grønlund, Haas, Halvorsen, Hansen, Hendriks,
    Herrera, Hoffmann, Holm, Horváth, Ibáñez, Iversen, Jansen, Jiménez, Johansson, Kaczmarek, Keller,
    Kjær, Klein, Kovač, Kowalska, Krüger, Lacroix, Lambert, Larsen, Lefèvre, Lindqvist, López, Lund,
    Madsen, Marchetti, Martín, Meijer, Mendes, Mercier, Molina, Moreau, Mortensen, Müller, Muñoz, Navarro,
    Nielsen, Novák, Núñez, O’Brien, Østergård, Papadaki, Peeters, Pereira, Petit, Quintana, Rasmussen,
    Renard, Reyes, Ribeiro, Romero, Rossi, Ruiz, Sanders, Šimek, Sørensen, Strand, Suárez, Szabó, Torres,
    van Dijk, van Leeuwen, Vega, Verhoeven, Vidal, Visser, Wagner, Weber, Wiśniewski, Zieliński
    """
)

# How a company of each trade calls itself: `{last}` is its founder, `{place}` a quarter or a street.
COMPANY_PATTERNS = {
    "Hospitality": _words("Hotel {place}, Café {last}, {last} Bistro, The {place} Inn, Pension {last}"),
    "Food": _words("{last} Bakery, {place} Dairy, {last} & Sons Butchers, {place} Roasters, Mill of {place}"),
    "Retail": _words("{last} Books, {place} Cycles, {last} Optics, {place} Garden Centre, Atelier {last}"),
    "Construction": _words("{last} Roofing, {last} & Partners Builders, {place} Joinery, {last} Electrics"),
    "Logistics": _words("{place} Freight, {last} Couriers, {place} Cold Store, {last} Shipping"),
    "Healthcare": _words("{place} Dental, Dr {last} Practice, {place} Physiotherapy, {last} Veterinary"),
    "Manufacturing": _words("{last} Metalworks, {place} Ceramics, {last} Instruments, {place} Packaging"),
    "Professional services": _words(
        "{last} Notaries, {last} & {last2}, {place} Accounting, {last} Architects"
    ),
    "Education": _words("{place} Music School, {last} Language School, {place} Montessori"),
    "Leisure": _words("{place} Rowing Club, {place} Climbing Hall, {last} Travel, Cinema {place}"),
}

PLACES = _words(
    """
    Aurora, Beacon, Bellevue, Birchwood, Bluestone, Bridgegate, Canal, Castle Hill, Cedar, Citadel, Corn
    Market, Dockside, Dune, Eastgate, Elm Court, Estuary, Fairway, Fern Hill, Fjord, Foundry, Gallows
    Lane, Granary, Green Dyke, Heron, High Weir, Kingfisher, Lantern, Lighthouse, Linden, Lower Quay,
    Maritime, Meadow, Mill Race, Mirador, Northbank, Old Town, Orchard, Osprey, Pier Nine, Pinewood,
    Poplar, Quayside, Ravelin, Riverside, Rosewood, Rosia, Saltmarsh, Sandbank, Skylark, Southbank, St
    Olaf, Station, Sundial, Tannery, Terrace, Three Oaks, Tide, Tollgate, Upper Lock, Valley, Vineyard,
    Watermill, Westgate, Wharf, Willow, Windmill
    """
)

STREETS = _words(
    """
    Bridge Street, Canal Street, Church Lane, Customs Quay, Garden Row, Harbour Road, High Street, King
    Street, Long Lane, Market Square, Mill Road, New Street, North Parade, Old Wall, Ropewalk, Sea View,
    South Parade, Station Road, Tower Street, Warehouse Lane
    """
)

TITLES = _words(
    """
    Owner, Managing director, Office manager, Head of operations, Purchasing, Facilities manager, Finance,
    Assistant, Technical lead, Site manager, Partner, Reception
    """
)

# What the demo organisation sells: it equips and looks after small premises.
PRODUCTS = _words(
    """
    Heat pump, Solar roof, Lighting refit, Service contract, Cold room, Fire alarm, Door access, Charging
    points, Insulation, Boiler exchange, Air handling, Lift maintenance, Rewiring, Water softener, Energy
    audit, Solar battery, Kitchen ventilation, Camera system
    """
)

LEAD_NOTES = (
    "Asked for a call after the summer holidays.",
    "Compares us with two others; price matters less than the date.",
    "Met at the trade fair, wants a visit before any quote.",
    "Prefers e-mail. The landlord has to agree as well.",
    "Recommended by a neighbour whose job we did last year.",
    "Budget is released in the first quarter.",
    "Would like the same people who did the last installation.",
    "Bâtiment classé : façade may not be changed.",
    "Needs everything to be quiet before nine in the morning.",
    "Has photographs of the plant room, will send them.",
)

DEAL_NOTES = (
    "Second offer sent, discount agreed with Ana.",
    "Waiting for the grant to be confirmed.",
    "Signature is expected once the board has met.",
    "Lost to a cheaper offer, ask again in a year.",
    "Wants to split the work over two years.",
    "Scaffolding has to be coordinated with the painter.",
)

TASKS = (
    ("Call {who} back", "Was out, asked to be rung after lunch."),
    ("Send the offer for the {product}", None),
    ("Book a site visit at {company}", "Half a day; bring the thermal camera."),
    ("Check the measurements with {who}", None),
    ("Ask {who} for the signed copy", None),
    ("Order parts: {product}", "Delivery takes about three weeks."),
    ("Prepare the yearly review for {company}", None),
    ("Renew the {product} contract", "Ends next month; the price index has changed."),
    ("Introduce the new technician to {company}", None),
    ("Invoice question from {company}", "They see two lines for the same visit."),
)

ACTIVITIES: dict[str, tuple[str, ...]] = {
    "call": ("Talked to {who} about the {product}", "No answer at {company}", "{who} asked for a later date"),
    "email": ("Offer for the {product} sent", "{who} sent the floor plans", "Reminder to {company}"),
    "meeting": ("Site visit at {company}", "Handover with {who}", "Second meeting about the {product}"),
    "note": ("{company} is moving premises", "{who} is on leave until the end of the month"),
    "system": ("Imported from the old address book",),
}

# (country, city, telephone pattern of a range kept free for fiction) by the slug of a branch.
REGIONS: dict[str, tuple[tuple[str, str, str], ...]] = {
    "north": (
        ("DK", "Aarhus", "+44 20 7946 0###"),
        ("DK", "Aalborg", "+44 20 7946 0###"),
        ("NO", "Tromsø", "+44 7700 900###"),
        ("SE", "Malmö", "+44 7700 900###"),
    ),
    "south": (
        ("ES", "Málaga", "+33 6 39 98 ## ##"),
        ("ES", "Córdoba", "+33 6 39 98 ## ##"),
        ("PT", "Évora", "+33 4 65 71 ## ##"),
        ("FR", "Nîmes", "+33 4 65 71 ## ##"),
    ),
    "harbour": (
        ("NL", "Rotterdam", "+44 131 496 0###"),
        ("BE", "Antwerp", "+44 131 496 0###"),
        ("NL", "Dordrecht", "+44 161 496 0###"),
    ),
}
