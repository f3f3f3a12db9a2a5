"""The secret scan as a process, over throwaway repositories.

Each secret is put together here: written whole, this file would be a finding of its own.
"""

import hashlib
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "scripts" / "secrets_check.py"
# Whose settings a machine has must not matter: no signing, no hooks, a name.
GIT = (
    "git",
    *("-c", "user.name=Nobody", "-c", "user.email=nobody@example.invalid"),
    *("-c", "commit.gpgsign=false", "-c", "core.hooksPath=/dev/null"),
)

CHUTES_KEY = "cpk_" + ".".join(["0f1e2d3c" * 4, "a1b2c3d4" * 4, "Zz9Yy8Xx" * 4])
OAUTH_TOKEN = "cak_" + "Not0A1Real2Token3" * 2
SHAPES = {
    "API key": (f'client = OpenAI(api_key="{CHUTES_KEY}")', CHUTES_KEY, "Chutes key"),
    "API key cut short": (f"# was {CHUTES_KEY[:40]}", CHUTES_KEY[:36], "Chutes key"),
    "OAuth token": (f"Authorization: Bearer {OAUTH_TOKEN}", OAUTH_TOKEN, "Chutes key"),
    "AWS key": ("id = AKIA" + "QWERTYUIOPASDFGH", "QWERTYUIOPASDFGH", "AWS Access Key"),
    "GitHub token": ("ghp_" + "fake0FAKE1" * 3 + "fake00", "fake0FAKE1", "GitHub Token"),
    "private key": ("-----BEGIN EC " + "PRIVATE KEY-----", "BEGIN EC", "Private Key"),
    "password in a URL": ("curl https://u:" + "opensesame@host/", "opensesame", "Basic Auth"),
    "password by its name": ('password = "' + 'opensesame9"', "opensesame9", "Secret Keyword"),
}


class Repository:
    """A git repository of its own."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.git("init", "--quiet")

    def git(self, *words: str) -> str:
        command = (*GIT, *words)
        done = subprocess.run(command, cwd=self.path, capture_output=True, text=True, check=True)
        return done.stdout.strip()

    def commit(self, message: str = "Change", **files: str) -> str:
        """Commit these files, named by their stems, and give the commit's id."""
        for stem, text in files.items():
            (self.path / f"{stem}.py").write_text(text)
        self.git("add", "--all")
        self.git("commit", "--quiet", "--allow-empty", "--message", message)
        return self.git("rev-parse", "HEAD")

    def scan(self, *options: str) -> tuple[int, str]:
        done = subprocess.run(
            [sys.executable, SCRIPT, *options, self.path],
            capture_output=True,
            text=True,
            check=False,
        )
        return done.returncode, done.stdout + done.stderr


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    made = Repository(tmp_path)
    made.commit(clean='"""Nothing here."""\n')
    return made


@pytest.mark.parametrize("shape", SHAPES)
def test_a_key_in_the_tree_is_found_and_not_repeated(repository: Repository, shape: str) -> None:
    line, secret, kind = SHAPES[shape]
    assert secret in line
    repository.commit(planted=f"\n\n{line}\n")
    code, output = repository.scan()
    assert code == 1
    assert f"planted.py:3: {kind}" in output
    assert secret not in output


@pytest.mark.parametrize(
    "line",
    [
        'body = "one\\n' + CHUTES_KEY + '"',
        "a%3D" + CHUTES_KEY,
        "\033[31m" + CHUTES_KEY,
        CHUTES_KEY.upper(),
        "\\u0063" + CHUTES_KEY[1:],
        CHUTES_KEY.replace("_", "%5F"),
        "\0".join(CHUTES_KEY),
    ],
    ids=["escape", "URL", "colour", "upper case", "escaped letter", "escaped sign", "UTF-16"],
)
def test_a_key_is_found_however_it_is_written(repository: Repository, line: str) -> None:
    repository.commit(planted=f"{line}\n")
    code, output = repository.scan()
    assert code == 1
    assert "planted.py:1: Chutes key" in output


def test_a_key_that_is_a_file_name_is_found_and_not_repeated(repository: Repository) -> None:
    repository.commit(**{CHUTES_KEY: "x = 1\n"})
    code, output = repository.scan()
    assert code == 1
    assert "Chutes key" in output
    assert CHUTES_KEY not in output


def test_a_digest_is_no_secret_where_it_is_called_one(repository: Repository) -> None:
    digest = hashlib.sha256(b"anything").hexdigest()
    (repository.path / "manifest.json").write_text(f'{{"sha256": "{digest}"}}\n')
    repository.commit()
    assert repository.scan()[0] == 0
    (repository.path / "manifest.json").write_text(f'{{"token": "{digest}"}}\n')
    repository.commit()
    assert repository.scan()[0] == 1


def test_a_key_that_only_an_old_commit_holds_is_found_with_that_commit(
    repository: Repository,
) -> None:
    guilty = repository.commit(planted=f'x = 1\nkey = "{CHUTES_KEY}"\n')
    repository.commit(planted="x = 1\n")
    (repository.path / "planted.py").unlink()
    repository.commit()
    code, output = repository.scan()
    assert code == 1
    assert f"planted.py:2: commit {guilty} Chutes key" in output
    assert CHUTES_KEY not in output


def test_a_key_on_another_branch_is_found(repository: Repository) -> None:
    repository.git("checkout", "--quiet", "-b", "other")
    guilty = repository.commit(planted=OAUTH_TOKEN)
    repository.git("checkout", "--quiet", "-")
    code, output = repository.scan()
    assert code == 1
    assert guilty in output


def test_a_key_that_came_with_a_merge_alone_is_found(repository: Repository) -> None:
    repository.git("checkout", "--quiet", "-b", "other")
    repository.commit(one="1\n")
    repository.git("checkout", "--quiet", "-")
    repository.commit(two="2\n")
    repository.git("merge", "--quiet", "--no-commit", "other")
    guilty = repository.commit(planted=CHUTES_KEY)
    repository.commit(planted="gone\n")
    code, output = repository.scan()
    assert code == 1
    assert f"planted.py:1: commit {guilty} Chutes key" in output


def test_a_key_in_a_commit_message_is_found(repository: Repository) -> None:
    guilty = repository.commit(f"Use {CHUTES_KEY}")
    code, output = repository.scan()
    assert code == 1
    assert f"commit {guilty} Chutes key" in output
    assert CHUTES_KEY not in output


def test_a_key_that_is_not_committed_yet_is_found(repository: Repository) -> None:
    (repository.path / "clean.py").write_text(CHUTES_KEY)
    code, output = repository.scan()
    assert code == 1
    assert "clean.py:1: Chutes key" in output


def test_a_key_among_bytes_that_are_no_text_or_far_along_a_line_is_found(
    repository: Repository,
) -> None:
    (repository.path / "clean.py").write_bytes(b"\xff\xfe\x00" + CHUTES_KEY.encode() + b"\x00\xff")
    for stem, place in {"late": 50_000, "astride": 4_096 - 20}.items():
        repository.commit(**{stem: "x " * (place // 2) + CHUTES_KEY + " x" * 5_000})
    code, output = repository.scan()
    assert code == 1
    assert {line.split(":")[0] for line in output.splitlines() if "Chutes key" in line} == {
        "clean.py",
        "late.py",
        "astride.py",
    }


def test_a_clean_repository_passes(repository: Repository) -> None:
    repository.commit(
        fake="\n".join(
            [
                'token = "cpk_lab0canary0token"',
                f'digest = "sha256:{"0123456789abcdef" * 4}"',
                'password = os.environ["PASSWORD"]',
                'address = "203.0.113.7"',
            ]
        )
    )
    code, output = repository.scan()
    assert code == 0, output
    assert output.startswith("0 findings in ")


def test_a_repository_without_a_commit_passes(tmp_path: Path) -> None:
    assert Repository(tmp_path).scan()[0] == 0


def test_what_has_been_reviewed_is_no_finding_and_all_else_still_is(
    repository: Repository,
) -> None:
    repository.commit(planted=f"{CHUTES_KEY}\n{OAUTH_TOKEN}\n")
    _, output = repository.scan("--hashes")
    (sha256,) = (line.split()[-1] for line in output.splitlines() if "planted.py:1:" in line)
    (repository.path / "scripts").mkdir()
    reviewed = repository.path / "scripts" / "secrets_reviewed.txt"
    reviewed.write_text(f"# Looked at.\n{sha256} a fake of this test\n")
    code, output = repository.scan()
    assert code == 1
    assert "planted.py:1:" not in output
    assert "planted.py:2:" in output


def test_a_review_without_a_reason_is_refused(repository: Repository) -> None:
    (repository.path / "scripts").mkdir()
    (repository.path / "scripts" / "secrets_reviewed.txt").write_text("0" * 64 + "\n")
    code, output = repository.scan()
    assert code == 2
    assert "a reason" in output


def test_a_shallow_clone_is_no_clean_history(repository: Repository, tmp_path: Path) -> None:
    repository.commit(more="1\n")
    shallow = tmp_path / "shallow"
    repository.git("clone", "--quiet", "--depth=1", f"file://{repository.path}", str(shallow))
    done = subprocess.run(
        [sys.executable, SCRIPT, shallow], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "shallow" in done.stderr


def test_what_is_no_repository_is_no_clean_one(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, SCRIPT, tmp_path], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "not a git repository" in done.stderr
