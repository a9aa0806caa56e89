"""The drawing of the house: rooms, levels and the imports between them, from the code itself.

`python -m tests.house.rooms` prints the part of docs/architecture.md that a test compares with the code.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import grimp

TOP = ("retrievalguard", "bench", "evaluation", "service", "models", "index", "certify")
INSIDE = ("service", "models")


@dataclass(frozen=True)
class House:
    """Rooms, each with the rooms that it imports; `levels` from the top, every import goes down."""

    name: str
    imports: Mapping[str, frozenset[str]]

    @property
    def levels(self) -> list[list[str]]:
        """Rooms by the longest chain of imports below them; raises `RecursionError` on a circle."""

        def height(room: str) -> int:
            return 1 + max((height(below) for below in self.imports[room]), default=-1)

        heights = {room: height(room) for room in self.imports}
        return [
            sorted(room for room, found in heights.items() if found == level)
            for level in sorted(set(heights.values()), reverse=True)
        ]

    def drawing(self) -> str:
        """A Mermaid chart, one line an import."""
        lines = ["```mermaid", "flowchart TD"]
        for number, level in enumerate(self.levels):
            lines.append(f"  subgraph {self.name}-{number} [ ]")
            lines += [f"    {self.name}.{room}[{room}]" for room in level]
            lines.append("  end")
        lines += [
            f"  {self.name}.{room} --> {self.name}.{below}"
            for level in self.levels
            for room in level
            for below in sorted(self.imports[room])
        ]
        return "\n".join([*lines, "```"])

    def summary(self) -> str:
        """How many rooms, levels and imports."""
        count = sum(map(len, self.imports.values()))
        return f"{len(self.imports)} rooms on {len(self.levels)} levels, {count} imports, none upward"


def houses() -> list[House]:
    """The whole project, and the inside of each room that has rooms of its own."""
    graph = grimp.build_graph(*TOP)
    return [
        House("project", _imports(graph, {name: name for name in TOP})),
        *(
            House(
                name, _imports(graph, {module.split(".")[-1]: module for module in graph.find_children(name)})
            )
            for name in INSIDE
        ),
    ]


def _imports(graph: grimp.ImportGraph, rooms: Mapping[str, str]) -> dict[str, frozenset[str]]:
    return {
        room: frozenset(
            other
            for other, target in rooms.items()
            if other != room
            and graph.direct_import_exists(importer=module, imported=target, as_packages=True)
        )
        for room, module in rooms.items()
    }


def text() -> str:
    """What docs/architecture.md holds between its marks."""
    return "\n\n".join(f"**{house.name}**: {house.summary()}.\n\n{house.drawing()}" for house in houses())


if __name__ == "__main__":
    print(text())
