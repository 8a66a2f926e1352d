"""Topologies: lists of links (dialler, target)."""

Link = tuple[int, int]

PAIR: list[Link] = [(0, 1)]
CHAIN: list[Link] = [(0, 1), (1, 2), (2, 3)]
RING: list[Link] = [(0, 1), (1, 2), (2, 3), (3, 0)]
STAR: list[Link] = [(1, 0), (2, 0), (3, 0), (4, 0)]
MESH: list[Link] = [(one, other) for one in range(5) for other in range(one)]

MESH_OF_FOUR: list[Link] = [(one, other) for one, other in MESH if one < 4]

ALL = {"pair": PAIR, "chain": CHAIN, "ring": RING, "star": STAR, "mesh": MESH}


def nodes_of(links: list[Link]) -> int:
    return 1 + max(max(link) for link in links)
