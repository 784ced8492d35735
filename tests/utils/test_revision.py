import subprocess

from scb_d2.utils import revision as module


def test_files_of_results_may_differ(tmp_path, monkeypatch):
    def git(*arguments):
        identity = ["-c", "user.name=a", "-c", "user.email=a@b"]
        subprocess.run(["git", "-C", tmp_path, *identity, *arguments], check=True)

    source, result = tmp_path / "a" / "b" / "code.py", tmp_path / "results" / "table.md"
    for file in (source, result):
        file.parent.mkdir(parents=True)
        file.write_text("1")
    git("init", "-q")
    git("add", ".")
    git("commit", "-q", "-m", "first")
    monkeypatch.setattr(module, "__file__", str(source))
    module.revision.cache_clear()
    try:
        commit = module.revision()
        assert len(commit) == 40
        result.write_text("2")
        module.revision.cache_clear()
        assert module.revision() == f"{commit}+changes"
        assert module.revision(but=result.parent) == commit
        assert module.revision(but=tmp_path.parent) == f"{commit}+changes"
        source.write_text("2")
        module.revision.cache_clear()
        assert module.revision(but=result.parent) == f"{commit}+changes"
    finally:
        module.revision.cache_clear()
