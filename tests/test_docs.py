"""The documentation names what is there."""

import re
from pathlib import Path

import detectron2
import pytest
from detectron2.config import CfgNode, get_cfg

from scb_d2 import add_scb_config
from scb_d2.projects import add_project_configs


def keys(node, prefix=""):
    for name, value in node.items():
        if isinstance(value, CfgNode):
            yield from keys(value, f"{prefix}{name}.")
        else:
            yield prefix + name


def own_keys():
    cfg = get_cfg()
    add_scb_config(cfg)
    add_project_configs(cfg)
    return set(keys(cfg)) - set(keys(get_cfg()))


def test_config_reference_is_complete(repo_root):
    text = (repo_root / "docs" / "config.md").read_text()
    cells = [line.split("|")[1] for line in text.splitlines() if line.startswith("| `")]
    documented = {
        key for cell in cells for key in re.findall(r"`([A-Z_0-9]+(?:\.[A-Z_0-9]+)+)`", cell)
    }
    assert documented == own_keys()


def test_every_page_is_in_the_navigation_of_the_site(repo_root):
    nav = (repo_root / "mkdocs.yml").read_text("utf-8").partition("\nnav:\n")[2]
    listed = set(re.findall(r"([\w./-]+\.md)$", nav, re.MULTILINE))
    pages = {f"docs/{page.name}" for page in (repo_root / "docs").glob("*.md")}
    pages |= {
        f"projects/{page.parent.name}/README.md" for page in repo_root.glob("projects/*/README.md")
    }
    assert pages <= listed
    assert all((repo_root / page).is_file() for page in listed if not page.startswith("reference/"))


def test_defaults_of_the_loss_in_the_reference(repo_root):
    cfg = get_cfg()
    add_scb_config(cfg)
    text = (repo_root / "docs" / "config.md").read_text()
    for key, default in re.findall(r"^\| `MODEL\.SCB\.(\w+)` \| `(.+?)` \|", text, re.MULTILINE):
        assert eval(default) == cfg.MODEL.SCB[key], key


def pages(repo_root):
    return [
        *repo_root.glob("*.md"),
        *repo_root.glob("docs/*.md"),
        *repo_root.glob("projects/*/README.md"),
    ]


def test_links_lead_somewhere(repo_root):
    for page in pages(repo_root):
        for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text()):
            if "://" not in target:
                assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_config_files_that_are_named_exist(repo_root):
    for page in pages(repo_root):
        for path in re.findall(
            r"(?<![\w/])((?:configs|projects)/[\w/]+\.(?:yaml|py))", page.read_text()
        ):
            roots = (repo_root, page.parent, Path(detectron2.__file__).parent / "model_zoo")
            assert any((root / path).exists() for root in roots), f"{page.name}: {path}"


def test_readme_values(repo_root):
    import torch

    import scb_d2

    weights = scb_d2.object_weights(torch.tensor([1, 2, 10, 50]))
    assert f"{weights}" in (repo_root / "README.md").read_text()


@pytest.mark.parametrize(
    "name", ["Makefile", "README.md", "CHANGELOG.md", "LICENSE", "CITATION.cff"]
)
def test_what_a_visitor_looks_for(repo_root, name):
    assert (repo_root / name).stat().st_size > 100
