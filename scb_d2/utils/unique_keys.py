"""YAML in which no key of a mapping is given twice."""

from typing import Any

import yaml

__all__ = ["UniqueKeyLoader"]


class UniqueKeyLoader(yaml.SafeLoader):
    """PyYAML's safe loader, which by itself takes the last value of a key and drops the others."""

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        """As PyYAML's.

        Raises:
            yaml.YAMLError: naming a key that is given twice, and where.
        """
        node = super().compose_mapping_node(anchor)
        lines: dict[tuple[str, str], int] = {}
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                continue
            spelt, line = (key.tag, key.value), key.start_mark.line + 1
            if spelt in lines:
                raise yaml.MarkedYAMLError(
                    problem=f"the key {key.value!r} of line {lines[spelt]} is given again",
                    problem_mark=key.start_mark,
                )
            lines[spelt] = line
        return node
