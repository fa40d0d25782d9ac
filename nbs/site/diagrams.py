"""Mermaid diagrams as SVG, drawn while the site is built: no script and no network on the page, and the colours follow the theme.

Understood: `flowchart`/`graph` (all directions, the usual shapes, `-->`, `---`, `-.->`, `==>`, labels, chains, `&`, subgraphs), `stateDiagram-v2`
(`[*]`, labels, descriptions, `state "x" as y`, composite states, notes) and `sequenceDiagram` (participants, messages, notes, loop/alt/opt).
Styling statements are ignored. Anything else is an error that names the line.

The layout is the classical one for layered graphs (Sugiyama, Tagawa and Toda 1981): break cycles, give each node a rank, order the nodes of a rank by the
barycentre of their neighbours, then place them by least squares under minimum distances (isotonic regression).
"""
import html
import re
from dataclasses import dataclass, field

SIZE, LINE, PAD_X, PAD_Y, GAP, RANK_GAP = 14.0, 19.0, 14.0, 10.0, 30.0, 26.0
WIDEST = 1000.0  # a diagram that would be wider is turned upright
NARROW, WIDE = set("iljtfrI.,:;'|!()[]{} `"), set("mwMW@%")


class DiagramError(Exception):
    "A diagram holds something that is not understood."


@dataclass
class Node:
    "A box of the diagram, or an invisible bend of an edge."

    name: str
    text: str = ""
    shape: str = "rect"
    w: float = 0.0
    h: float = 0.0
    x: float = 0.0
    y: float = 0.0
    rank: int = 0
    group: str = ""
    bend: bool = False


@dataclass
class Edge:
    "A line from one node to another."

    a: str
    b: str
    text: str = ""
    style: str = "solid"  # solid, dotted, thick
    head: bool = True
    tail: bool = False
    via: list[Node] = field(default_factory=list)
    turned: bool = False
    label: Node | None = None


@dataclass
class Graph:
    "What was read."

    direction: str = "TB"
    nodes: dict[str, Node] = field(default_factory=dict)
    edges: list[Edge] = field(default_factory=list)
    groups: dict[str, str] = field(default_factory=dict)
    notes: list[tuple[str, str]] = field(default_factory=list)

    def node(self, name: str, text: str | None = None, shape: str | None = None, group: str = "") -> Node:
        found = self.nodes.setdefault(name, Node(name, name, "rect", group=group))
        if text is not None:
            found.text = text
        if shape is not None:
            found.shape = shape
        return found


def clean(text: str) -> str:
    "A label as plain text with line breaks."
    text = re.sub(r"<br\s*/?>|\\n", "\n", text.strip().strip('"').strip())
    text = re.sub(r"</?(b|i|em|strong|code|small|sub|sup|span)[^>]*>", "", text)
    return html.unescape(text.replace("#quot;", '"').replace("#35;", "#")).strip("`")


def width(text: str) -> float:
    "Rough width of one line in a sans-serif face."
    return sum(0.33 if c in NARROW else 0.86 if c in WIDE else 0.68 if c.isupper() else 0.56 for c in text) * SIZE


def box(text: str) -> tuple[float, float]:
    "Width and height of some lines of text."
    lines = text.split("\n")
    return max(width(line) for line in lines), LINE * len(lines)


# ---- reading --------------------------------------------------------------------------------------------------------

SHAPES = [("([", "])", "stadium"), ("[[", "]]", "rect"), ("[(", ")]", "store"), ("((", "))", "circle"), ("{{", "}}", "stadium"), ("[/", "/]", "rect"),
          ("[\\", "\\]", "rect"), ("[", "]", "rect"), ("(", ")", "round"), ("{", "}", "diamond"), (">", "]", "rect")]
_IDENT = re.compile(r"[\w.]+(?:-[\w.]+)*")
_ARROW = re.compile(r"\s*(<)?(?:(--|==|-\.)\s+([^|\n]*?[^\s|=.-])\s*(-{2,}>|-{3,}|={2,}>|={3,}|\.-+>|\.-+|--[ox])"
                    r"|(-{2,}[>ox]|-{3,}|={2,}>|={3,}|-\.+-+>|-\.+-+))"
                    r"(?:\|([^|]*)\|)?\s*")
_SKIP = re.compile(r"^(classDef|class|style|linkStyle|click|accTitle|accDescr|hide|title)\b")


def read_node(g: Graph, text: str, at: int, group: str) -> tuple[str, int]:
    "One node reference at a position."
    m = _IDENT.match(text, at)
    if not m:
        raise DiagramError(f"cannot read a node in {text!r}")
    name, at = m.group(0), m.end()
    for opening, closing, shape in SHAPES:
        if text.startswith(opening, at):
            end = _closing(text, at + len(opening), closing)
            if end >= 0:
                node = g.node(name, clean(text[at + len(opening):end]), shape, group)
                node.group = node.group or group
                at = end + len(closing)
                break
    else:
        g.node(name, group=group)
    if m := re.match(r":::\w+", text[at:]):
        at += m.end()
    return name, at


def _closing(text: str, at: int, closing: str) -> int:
    quoted = re.compile(r'\s*"[^"]*"\s*').match(text, at)
    return text.find(closing, quoted.end() if quoted else at)


def read_flow(lines: list[str], direction: str) -> Graph:
    "A flowchart."
    g, stack = Graph(direction or "TB"), [""]
    for line in [part.strip() for raw in lines for part in re.split(r";(?=\s|$)", raw)]:
        if not line or _SKIP.match(line) or re.match(r"^direction\s", line):
            continue
        if m := re.match(r"^subgraph\s+(.+)$", line):
            n = re.match(r"^([\w.-]+)\s*\[(.*)\]$", m.group(1))
            name, title = (n.group(1), clean(n.group(2))) if n else (clean(m.group(1)),) * 2
            g.groups[name] = title
            stack.append(name)
            continue
        if line == "end":
            stack.pop()
            continue
        at, before, arrow = 0, [], None
        while True:
            now = []
            while True:
                name, at = read_node(g, line, at, stack[-1])
                now.append(name)
                if m := re.match(r"\s*&\s*", line[at:]):
                    at += m.end()
                else:
                    break
            if arrow:
                g.edges += [Edge(a, b, *arrow) for a in before for b in now]
            if at >= len(line.rstrip()):
                break
            m = _ARROW.match(line, at)
            if not m:
                raise DiagramError(f"cannot read the arrow in {line!r}")
            kind = m.group(4) or m.group(5)
            style = "dotted" if "." in kind or m.group(2) == "-." else "thick" if "=" in kind else "solid"
            arrow = (clean(m.group(3) or m.group(6) or ""), style, kind[-1] in ">ox", bool(m.group(1)))
            before, at = now, m.end()
    return g


def read_state(lines: list[str]) -> Graph:
    "A state diagram."
    g, stack, note = Graph("TB"), [""], None
    for line in map(str.strip, lines):
        if note is not None:
            if line == "end note":
                g.notes.append((note[0], "\n".join(note[1:])))
                note = None
            else:
                note.append(clean(line))
            continue
        if not line or _SKIP.match(line) or line == "--":
            continue
        if m := re.match(r"^direction\s+(\w+)$", line):
            g.direction = m.group(1) if len(stack) == 1 else g.direction
        elif m := re.match(r"^note\s+(?:left|right)\s+of\s+(\S+?)\s*(?::\s*(.*))?$", line):
            if m.group(2):
                g.notes.append((m.group(1), clean(m.group(2))))
            else:
                note = [m.group(1)]
        elif m := re.match(r'^state\s+(?:"([^"]*)"\s+as\s+)?([\w.-]+)\s*(\{)?$', line):
            if m.group(3):
                g.groups[m.group(2)] = clean(m.group(1) or m.group(2))
                stack.append(m.group(2))
            else:
                g.node(m.group(2), clean(m.group(1) or m.group(2)), "round", stack[-1])
        elif m := re.match(r"^state\s+(\w+)\s+<<(\w+)>>$", line):
            g.node(m.group(1), "", "diamond", stack[-1])
        elif line == "}":
            stack.pop()
        elif m := re.match(r"^(\[\*\]|[\w.-]+?)\s*-->\s*(\[\*\]|[\w.-]+?)\s*(?::\s*(.*))?$", line):
            a, b = (f"*start{stack[-1]}" if m.group(1) == "[*]" else m.group(1)), (f"*end{stack[-1]}" if m.group(2) == "[*]" else m.group(2))
            for name in (a, b):
                if name.startswith("*"):
                    g.node(name, "", "start" if name.startswith("*start") else "end", stack[-1])
                elif name not in g.groups:
                    found = g.node(name, None, None, stack[-1])
                    found.shape = "round" if found.shape == "rect" else found.shape
            g.edges.append(Edge(a, b, clean(m.group(3) or "")))
        elif m := re.match(r"^([\w.-]+)\s*:\s*(.+)$", line):
            found = g.node(m.group(1), None, "round", stack[-1])
            found.text = clean(m.group(2)) if found.text == found.name else f"{found.text}\n{clean(m.group(2))}"
        elif re.match(r"^[\w.-]+$", line):
            g.node(line, None, "round", stack[-1])
        else:
            raise DiagramError(f"cannot read the line {line!r} of a state diagram")
    for edge in g.edges:  # an arrow to a composite state goes to its first state
        for side in ("a", "b"):
            if getattr(edge, side) in g.groups and getattr(edge, side) not in g.nodes:
                inner = [n.name for n in g.nodes.values() if n.group == getattr(edge, side)]
                setattr(edge, side, inner[0] if side == "b" else inner[-1])
    return g


# ---- layout ---------------------------------------------------------------------------------------------------------

def measure(g: Graph) -> None:
    for n in g.nodes.values():
        w, h = box(n.text or " ")
        n.w, n.h = w + 2 * PAD_X, h + 2 * PAD_Y
        if n.shape in ("start", "end"):
            n.w = n.h = 18.0
        elif n.shape == "circle":
            n.w = n.h = max(n.w, n.h)
        elif n.shape == "diamond":
            n.w, n.h = (26.0, 26.0) if not n.text else (w * 1.45 + 2 * PAD_X, h * 1.7 + 2 * PAD_Y)
        elif n.shape == "store":
            n.h += 10
        n.w = max(n.w, 46.0) if n.shape in ("rect", "round", "stadium") else n.w


def break_cycles(g: Graph) -> None:
    "Turn the edges that close a cycle, found by a depth-first walk in the order of writing."
    state: dict[str, int] = {}
    leaving: dict[str, list[Edge]] = {n: [] for n in g.nodes}
    for e in g.edges:
        leaving[e.a].append(e)

    def walk(name: str) -> None:
        state[name] = 1
        for e in leaving[name]:
            if e.b == name:
                continue
            if state.get(e.b) == 1:
                e.turned = True
            elif e.b not in state:
                walk(e.b)
        state[name] = 2

    entered = {e.b for e in g.edges if e.a != e.b}
    for name in [n for n in g.nodes if n not in entered] + list(g.nodes):
        if name not in state:
            walk(name)


def ends(e: Edge) -> tuple[str, str]:
    return (e.b, e.a) if e.turned else (e.a, e.b)


def set_ranks(g: Graph) -> None:
    "Longest path from the sources, then pull nodes up towards what they lead to; nodes get even ranks, labels odd ones."
    real = [e for e in g.edges if e.a != e.b]
    for _ in g.nodes:
        for e in real:
            a, b = ends(e)
            g.nodes[b].rank = max(g.nodes[b].rank, g.nodes[a].rank + 1)
    for n in g.nodes.values():
        after = [g.nodes[ends(e)[1]].rank for e in real if ends(e)[0] == n.name]
        if after and not any(ends(e)[1] == n.name for e in real):
            n.rank = min(after) - 1
    for n in g.nodes.values():
        n.rank *= 2


def make_layers(g: Graph) -> tuple[list[list[Node]], dict[int, list[tuple[Node, float]]], dict[int, list[tuple[Node, float]]]]:
    "Nodes by rank with the bends of long edges between them; who is above and below whom."
    count = max((n.rank for n in g.nodes.values()), default=0) + 1
    layers: list[list[Node]] = [[] for _ in range(count)]
    up: dict[int, list[tuple[Node, float]]] = {}
    down: dict[int, list[tuple[Node, float]]] = {}
    for n in g.nodes.values():
        layers[n.rank].append(n)
    for e in g.edges:
        if e.a == e.b:
            continue
        a, b = (g.nodes[x] for x in ends(e))
        chain = [a]
        middle = (a.rank + b.rank) // 2
        middle += 1 - middle % 2 if (b.rank - a.rank) % 4 == 0 else 0
        for rank in range(a.rank + 1, b.rank):
            bend = Node("", bend=True, rank=rank, group=a.group if a.group == b.group else "")
            if rank == middle and e.text:
                w, h = box(e.text)
                bend.w, bend.h, bend.text, e.label = w + 12, h + 6, e.text, bend
            layers[rank].append(bend)
            e.via.append(bend)
            chain.append(bend)
        chain.append(b)
        for one, two in zip(chain, chain[1:], strict=False):
            weight = 1.0 if not one.bend and not two.bend else 3.0 if one.bend != two.bend else 8.0
            down.setdefault(id(one), []).append((two, weight))
            up.setdefault(id(two), []).append((one, weight))
    return layers, up, down


def crossings(layers: list[list[Node]], down: dict) -> int:
    total = 0
    for upper, lower in zip(layers, layers[1:], strict=False):
        place = {id(n): i for i, n in enumerate(lower)}
        ends_ = [sorted(place[id(t)] for t, _ in down.get(id(n), []) if id(t) in place) for n in upper]
        flat = [x for xs in ends_ for x in xs]
        total += sum(1 for i in range(len(flat)) for j in range(i + 1, len(flat)) if flat[i] > flat[j])
    return total


def order(layers: list[list[Node]], up: dict, down: dict) -> None:
    "Sweep down and up, sorting each rank by the mean place of its neighbours; keep the best order met."
    best, fewest = [list(layer) for layer in layers], crossings(layers, down)
    for sweep in range(24):
        downwards = sweep % 2 == 0
        for i in (range(1, len(layers)) if downwards else range(len(layers) - 2, -1, -1)):
            other = layers[i - 1] if downwards else layers[i + 1]
            place = {id(n): (k + 0.5) / max(len(other), 1) for k, n in enumerate(other)}
            near = up if downwards else down

            def middle(n: Node, k: int, place=place, near=near, layer=layers[i]) -> float:
                found = [place[id(t)] for t, _ in near.get(id(n), []) if id(t) in place]
                return sum(found) / len(found) if found else (k + 0.5) / len(layer)

            keyed = [(middle(n, k), k, n) for k, n in enumerate(layers[i])]
            if any(n.group for n in layers[i]):
                groups: dict[str, list[float]] = {}
                for value, _, n in keyed:
                    groups.setdefault(n.group or f"\0{id(n)}", []).append(value)
                mean = {g: sum(v) / len(v) for g, v in groups.items()}
                keyed.sort(key=lambda t: (mean[t[2].group or f"\0{id(t[2])}"], t[2].group, t[0], t[1]))
            else:
                keyed.sort(key=lambda t: (t[0], t[1]))
            layers[i] = [n for *_, n in keyed]
        now = crossings(layers, down)
        if now < fewest:
            best, fewest = [list(layer) for layer in layers], now
    layers[:] = best


def isotonic(wanted: list[float], weights: list[float], gaps: list[float]) -> list[float]:
    "Places nearest to `wanted` whose differences are at least `gaps`."
    offset, total = [], 0.0
    for gap in [0.0, *gaps]:
        total += gap
        offset.append(total)
    blocks: list[list[float]] = []
    for value, weight, shift in zip(wanted, weights, offset, strict=True):
        blocks.append([(value - shift) * weight, weight, 1])
        while len(blocks) > 1 and blocks[-2][0] / blocks[-2][1] > blocks[-1][0] / blocks[-1][1]:
            last = blocks.pop()
            blocks[-1] = [blocks[-1][k] + last[k] for k in range(3)]
    flat = [b[0] / b[1] for b in blocks for _ in range(int(b[2]))]
    return [v + s for v, s in zip(flat, offset, strict=True)]


def place(layers: list[list[Node]], up: dict, down: dict, across: str) -> None:
    "Position along the rank: least squares towards the neighbours, down and up until it settles."
    def extent(n: Node) -> float:
        return n.w if across == "x" else n.h

    gaps = []
    for layer in layers:
        at = 0.0
        for n in layer:
            n.x = at + extent(n) / 2
            at += extent(n) + GAP
        gaps.append([(extent(a) + extent(b)) / 2 + (GAP * 0.6 if a.bend or b.bend else GAP) for a, b in zip(layer, layer[1:], strict=False)])
    for sweep in range(60):
        downwards = sweep % 2 == 0
        for i in (range(len(layers)) if downwards else reversed(range(len(layers)))):
            wanted, weights = [], []
            for n in layers[i]:
                near = [*up.get(id(n), []), *down.get(id(n), [])] if sweep > 30 else (up if downwards else down).get(id(n), [])
                mass = sum(w for _, w in near)
                wanted.append(sum(t.x * w for t, w in near) / mass if near else n.x)
                weights.append(mass or 0.5)
            for n, x in zip(layers[i], isotonic(wanted, weights, gaps[i]), strict=True):
                n.x = x


def layout(g: Graph) -> tuple[float, float]:
    "Give every node its centre; the size of the drawing."
    measure(g)
    break_cycles(g)
    set_ranks(g)
    layers, up, down = make_layers(g)
    order(layers, up, down)
    flat = g.direction in ("LR", "RL")
    place(layers, up, down, "y" if flat else "x")
    at = 0.0
    for i, layer in enumerate(layers):
        deep = max(((n.w if flat else n.h) for n in layer), default=0.0)
        for n in layer:
            n.y = at + deep / 2
        at += deep + RANK_GAP * (1.0 if deep or i % 2 == 0 else 0.4)
    everything = [n for layer in layers for n in layer]
    if flat:
        for n in everything:
            n.x, n.y = n.y, n.x
    if g.direction == "RL":
        for n in everything:
            n.x = -n.x
    if g.direction == "BT":
        for n in everything:
            n.y = -n.y
    left, top = min(n.x - n.w / 2 for n in everything), min(n.y - n.h / 2 for n in everything)
    for n in everything:
        n.x -= left
        n.y -= top
    return max(n.x + n.w / 2 for n in everything), max(n.y + n.h / 2 for n in everything)


# ---- drawing --------------------------------------------------------------------------------------------------------

def words(text: str, x: float, y: float, kind: str) -> str:
    "Lines of text centred at a point."
    lines = text.split("\n")
    top = y - LINE * (len(lines) - 1) / 2
    spans = "".join(f'<tspan x="{x:.1f}" y="{top + LINE * i:.1f}">{html.escape(line)}</tspan>' for i, line in enumerate(lines))
    return f'<text class="{kind}" text-anchor="middle" dominant-baseline="central">{spans}</text>'


def draw_node(n: Node) -> str:
    x, y, w, h = n.x - n.w / 2, n.y - n.h / 2, n.w, n.h
    if n.shape == "start":
        return f'<circle class="dot" cx="{n.x:.1f}" cy="{n.y:.1f}" r="8"/>'
    if n.shape == "end":
        return f'<circle class="ring" cx="{n.x:.1f}" cy="{n.y:.1f}" r="8"/><circle class="dot" cx="{n.x:.1f}" cy="{n.y:.1f}" r="4.5"/>'
    if n.shape == "circle":
        body = f'<circle class="node" cx="{n.x:.1f}" cy="{n.y:.1f}" r="{w / 2:.1f}"/>'
    elif n.shape == "diamond":
        body = f'<path class="node" d="M{n.x:.1f} {y:.1f}L{x + w:.1f} {n.y:.1f}L{n.x:.1f} {y + h:.1f}L{x:.1f} {n.y:.1f}Z"/>'
    elif n.shape == "store":
        body = (f'<path class="node" d="M{x:.1f} {y + 6:.1f}a{w / 2:.1f} 6 0 0 1 {w:.1f} 0v{h - 12:.1f}a{w / 2:.1f} 6 0 0 1 {-w:.1f} 0z"/>'
                f'<path class="node line" d="M{x:.1f} {y + 6:.1f}a{w / 2:.1f} 6 0 0 0 {w:.1f} 0"/>')
    else:
        radius = {"rect": 4, "round": 10, "stadium": h / 2}[n.shape]
        body = f'<rect class="node" x="{x:.1f}" y="{y:.1f}" width="{w:.1f}" height="{h:.1f}" rx="{radius:.1f}"/>'
    return body + (words(n.text, n.x, n.y + (4 if n.shape == "store" else 0), "name") if n.text else "")


def port(g: Graph, n: Node, other: Node, side: int, share: float) -> tuple[float, float]:
    "Where an edge leaves a node: the middle of a side, shifted by its share of that side."
    flat = g.direction in ("LR", "RL")
    if flat:
        reach = n.h * 0.28 if n.shape in ("rect", "round", "stadium", "store") else 0.0
        return n.x + side * n.w / 2, n.y + share * reach
    reach = n.w * 0.3 if n.shape in ("rect", "round", "stadium", "store") else 0.0
    return n.x + share * reach, n.y + side * n.h / 2


def shares(g: Graph) -> dict[tuple[int, str], float]:
    "How far from the middle of its side each edge leaves, so that edges do not share a point: -1 to 1."
    flat, found = g.direction in ("LR", "RL"), {}
    for n in g.nodes.values():
        for side in (0, 1):
            mine = []
            for k, e in enumerate(g.edges):
                if e.a == e.b or ends(e)[side] != n.name:
                    continue
                other = (e.via[0 if side == 0 else -1] if e.via else g.nodes[ends(e)[1 - side]])
                mine.append((other.y if flat else other.x, k))
            mine.sort()
            for i, (_, k) in enumerate(mine):
                found[k, side] = (2 * i - (len(mine) - 1)) / max(len(mine) - 1, 1) if len(mine) > 1 else 0.0
    return found


def draw_edge(g: Graph, k: int, e: Edge, share: dict) -> str:
    flat = g.direction in ("LR", "RL")
    classes = f"edge {e.style}"
    if e.a == e.b:
        n = g.nodes[e.a]
        x, y = n.x + n.w / 2, n.y
        path = f'<path class="{classes}" d="M{x:.1f} {y - 7:.1f}c26 -16 26 30 0 14" marker-end="url(#arrow)"/>'
        return path + (words(e.text, x + 28 + width(e.text) / 2, y, "label") if e.text else "")
    a, b = (g.nodes[x] for x in ends(e))
    sign = -1 if g.direction in ("RL", "BT") else 1
    points = [port(g, a, b, sign, share[k, 0])]
    for bend in e.via:
        half = (bend.w if flat else bend.h) / 2
        points += [(bend.x - sign * half, bend.y), (bend.x + sign * half, bend.y)] if flat else [(bend.x, bend.y - sign * half), (bend.x, bend.y + sign * half)]
    points.append(port(g, b, a, -sign, share[k, 1]))
    if e.turned:
        points.reverse()
    d = f"M{points[0][0]:.1f} {points[0][1]:.1f}"
    for (x0, y0), (x1, y1) in zip(points, points[1:], strict=False):
        if flat:
            m = (x0 + x1) / 2
            d += f"C{m:.1f} {y0:.1f} {m:.1f} {y1:.1f} {x1:.1f} {y1:.1f}" if abs(y0 - y1) > 0.2 else f"L{x1:.1f} {y1:.1f}"
        else:
            m = (y0 + y1) / 2
            d += f"C{x0:.1f} {m:.1f} {x1:.1f} {m:.1f} {x1:.1f} {y1:.1f}" if abs(x0 - x1) > 0.2 else f"L{x1:.1f} {y1:.1f}"
    marks = (' marker-end="url(#arrow)"' if e.head else "") + (' marker-start="url(#arrow)"' if e.tail else "")
    return f'<path class="{classes}" d="{d}"{marks}/>'


def draw_label(e: Edge) -> str:
    if e.label is None:
        return ""
    n = e.label
    return (f'<rect class="label-back" x="{n.x - n.w / 2:.1f}" y="{n.y - n.h / 2:.1f}" width="{n.w:.1f}" height="{n.h:.1f}" rx="3"/>'
            + words(n.text, n.x, n.y, "label"))


ARROW = ('<defs><marker id="arrow" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="7" markerHeight="7" orient="auto-start-reverse">'
         '<path class="head" d="M0 0.8L10 5L0 9.2z"/></marker></defs>')


def frame(body: str, left: float, top: float, w: float, h: float, alt: str) -> str:
    "The finished drawing with a margin."
    m = 6
    size = f'viewBox="{left - m:.0f} {top - m:.0f} {w + 2 * m:.0f} {h + 2 * m:.0f}" width="{w + 2 * m:.0f}" height="{h + 2 * m:.0f}"'
    return f'<svg class="drawing" xmlns="http://www.w3.org/2000/svg" role="img" aria-label="{html.escape(alt, quote=True)}" {size}>{ARROW}{body}</svg>'


def draw(g: Graph) -> str:
    "A flowchart or a state diagram."
    for name, text in g.notes:
        note = g.node(f"*note{len(g.nodes)}", text, "note")
        note.shape = "rect"
        g.edges.append(Edge(name, note.name, "", "dotted", head=False))
    if not g.nodes:
        raise DiagramError("the diagram has no nodes")
    w, h = layout(g)
    if w > WIDEST and g.direction in ("LR", "RL"):
        for e in g.edges:
            e.via, e.turned, e.label = [], False, None
        for n in g.nodes.values():
            n.rank = 0
        g.direction = "TB"
        w, h = layout(g)
    left, top, right, bottom, body = 0.0, 0.0, w, h, ""
    for name, title in g.groups.items():
        inner = [n for n in g.nodes.values() if n.group == name]
        if inner:
            x0, y0 = min(n.x - n.w / 2 for n in inner) - 12, min(n.y - n.h / 2 for n in inner) - 28
            x1, y1 = max(n.x + n.w / 2 for n in inner) + 12, max(n.y + n.h / 2 for n in inner) + 12
            x1 = max(x1, x0 + width(title) + 24)
            body += (f'<rect class="group" x="{x0:.1f}" y="{y0:.1f}" width="{x1 - x0:.1f}" height="{y1 - y0:.1f}" rx="8"/>'
                     f'<text class="group-name" x="{x0 + 12:.1f}" y="{y0 + 17:.1f}">{html.escape(title)}</text>')
            left, top, right, bottom = min(left, x0), min(top, y0), max(right, x1), max(bottom, y1)
    share = shares(g)
    body += "".join(draw_edge(g, k, e, share) for k, e in enumerate(g.edges)) + "".join(draw_label(e) for e in g.edges)
    body += "".join(f'<g class="note">{draw_node(n)}</g>' if n.name.startswith("*note") else draw_node(n) for n in g.nodes.values())
    right = max([right, *(g.nodes[e.a].x + g.nodes[e.a].w / 2 + 40 + width(e.text) for e in g.edges if e.a == e.b)])
    alt = "; ".join(f"{g.nodes[e.a].text or e.a.strip('*')} to {g.nodes[e.b].text or e.b.strip('*')}" for e in g.edges)
    return frame(body, left, top, right - left, bottom - top, alt.replace("\n", " "))


def sequence(lines: list[str]) -> str:
    "A sequence diagram."
    people: dict[str, str] = {}
    steps: list[tuple] = []

    def person(name: str) -> str:
        people.setdefault(name.strip(), name.strip())
        return name.strip()

    for line in map(str.strip, lines):
        if not line or re.match(r"^(autonumber|activate|deactivate|title|link|links|box|rect)\b", line):
            continue
        if m := re.match(r"^(?:participant|actor)\s+(\S+)(?:\s+as\s+(.+))?$", line):
            people[m.group(1)] = clean(m.group(2) or m.group(1))
        elif m := re.match(r"^note\s+(over|left of|right of)\s+([^:]+):\s*(.*)$", line, re.I):
            steps.append(("note", [person(p) for p in m.group(2).split(",")], clean(m.group(3)), m.group(1).lower()))
        elif m := re.match(r"^(loop|alt|opt|else|par|and|critical|break)\b\s*(.*)$", line):
            steps.append(("else" if m.group(1) in ("else", "and") else "open", m.group(1), clean(m.group(2))))
        elif line == "end":
            steps.append(("close",))
        elif m := re.match(r"^([^\s:]+?)\s*(-?->>?|--?>>|-[x)]|--[x)])\s*[+-]?([^\s:]+)\s*:\s*(.*)$", line):
            steps.append(("message", person(m.group(1)), person(m.group(3)), clean(m.group(4)), m.group(2).startswith("--")))
        else:
            raise DiagramError(f"cannot read the line {line!r} of a sequence diagram")
    names = list(people)
    span = {(i, i + 1): 60.0 for i in range(len(names))}
    for s in steps:
        if s[0] == "message" and s[1] != s[2]:
            i, j = sorted((names.index(s[1]), names.index(s[2])))
            need = box(s[3])[0] + 30
            for k in range(i, j):
                span[k, k + 1] = max(span[k, k + 1], need / (j - i))
    half = [box(people[n])[0] / 2 + PAD_X for n in names]
    xs = [half[0]]
    for i in range(1, len(names)):
        xs.append(xs[-1] + max(span[i - 1, i], half[i - 1] + half[i] + 20))
    at, body, opened, right = 56.0, "", [], xs[-1] + half[-1]
    for s in steps:
        if s[0] == "message":
            i, j = names.index(s[1]), names.index(s[2])
            tall = box(s[3])[1]
            style = "dotted" if s[4] else "solid"
            if i == j:
                body += words(s[3], xs[i] + 40 + box(s[3])[0] / 2, at + tall / 2 + 4, "label")
                body += f'<path class="edge {style}" d="M{xs[i]:.1f} {at:.1f}h28v18h-26" marker-end="url(#arrow)"/>'
                right = max(right, xs[i] + 46 + box(s[3])[0])
                at += max(tall, 18) + 16
            else:
                body += words(s[3], (xs[i] + xs[j]) / 2, at + tall / 2 - 2, "label")
                at += tall + 2
                body += f'<path class="edge {style}" d="M{xs[i]:.1f} {at:.1f}L{xs[j] - (2 if j > i else -2):.1f} {at:.1f}" marker-end="url(#arrow)"/>'
                at += 18
        elif s[0] == "note":
            places = [xs[names.index(p)] for p in s[1]]
            w, h = box(s[2])
            middle = sum(places) / len(places) + {"left of": -w / 2 - 24, "right of": w / 2 + 24}.get(s[3], 0.0)
            w = max(w + 2 * PAD_X, max(places) - min(places) + 40 if len(places) > 1 else 0)
            body += f'<g class="note"><rect class="node" x="{middle - w / 2:.1f}" y="{at - 6:.1f}" width="{w:.1f}" height="{h + 12:.1f}" rx="3"/></g>'
            body += words(s[2], middle, at + h / 2, "name")
            right = max(right, middle + w / 2)
            at += h + 22
        elif s[0] == "open":
            opened.append((at, f"{s[1]} {s[2]}"))
            at += 32
        elif s[0] == "else":
            body += f'<path class="edge dotted" d="M0 {at:.1f}H{right:.1f}"/><text class="group-name" x="8" y="{at + 16:.1f}">{html.escape(s[2])}</text>'
            at += 30
        elif opened:
            top, title = opened.pop()
            body = (f'<rect class="group" x="{-6 * len(opened):.1f}" y="{top:.1f}" width="{right + 12 * len(opened):.1f}" height="{at - top:.1f}" rx="6"/>'
                    f'<text class="group-name" x="8" y="{top + 17:.1f}">{html.escape(title)}</text>') + body
            at += 16
    lines_ = "".join(f'<path class="life" d="M{x:.1f} 38V{at:.1f}"/>' for x in xs)
    heads = "".join(draw_node(Node(n, people[n], "rect", 2 * h, 38.0, x, 19.0)) for n, x, h in zip(names, xs, half, strict=True))
    alt = "; ".join(f"{people[s[1]]} to {people[s[2]]}: {s[3]}" for s in steps if s[0] == "message")
    return frame(lines_ + body + heads, 0, 0, right, at, alt)


def svg(text: str) -> str:
    "Draw the source of one Mermaid diagram."
    text = re.sub(r"^\s*---\n.*?\n\s*---\n", "", text, flags=re.S)
    lines = [line for line in text.splitlines() if line.strip() and not line.strip().startswith("%%")]
    if not lines:
        raise DiagramError("the diagram is empty")
    head, rest = lines[0].strip().rstrip(";"), lines[1:]
    if m := re.match(r"^(?:flowchart|graph)\b\s*(LR|RL|TD|TB|BT)?$", head):
        return draw(read_flow(rest, {"TD": "TB"}.get(m.group(1), m.group(1))))
    if re.match(r"^stateDiagram(-v2)?$", head):
        return draw(read_state(rest))
    if head == "sequenceDiagram":
        return sequence(rest)
    raise DiagramError(f"the kind of diagram {head!r} is not drawn; use flowchart, stateDiagram-v2 or sequenceDiagram")
