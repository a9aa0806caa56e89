"""What docker-compose.yml, the files beside it and the documents say of each other; needs no engine."""

import re
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docker-compose.yml").read_text()
COMPOSE = yaml.safe_load(TEXT)
SERVICES = COMPOSE["services"]


def documented(section: str) -> set[str]:
    """The variables in the table of a section of docs/operations.md."""
    text = (ROOT / "docs" / "operations.md").read_text().partition(f"## {section}\n")[2].partition("\n## ")[0]
    return {name for row in re.findall(r"^\| (`.+?) \|", text, re.M) for name in re.findall(r"`(\w+)`", row)}


def test_every_variable_is_documented_and_no_other() -> None:
    used = set(re.findall(r"\$\{(\w+)", TEXT))
    assert used == documented("Compose") > {"PORT", "TAG"}


def test_what_is_mounted_from_here_is_here() -> None:
    mounted = [volume.split(":")[0] for service in SERVICES.values() for volume in service.get("volumes", ())]
    here = [ROOT / path for path in mounted if path.startswith("./")]
    assert len(here) > 4
    assert all(path.exists() for path in here)


def test_prometheus_asks_where_the_metrics_are() -> None:
    configuration = yaml.safe_load((ROOT / "docker" / "prometheus" / "prometheus.yml").read_text())
    (job,) = configuration["scrape_configs"]
    (found,) = job["dns_sd_configs"]
    assert job["job_name"] == "retrievalguard"  # the rules say so too
    assert set(found["names"]) <= SERVICES.keys()
    for name in found["names"]:
        assert str(found["port"]) == SERVICES[name]["environment"]["RETRIEVALGUARD_METRICS_PORT"]
        assert not any(str(found["port"]) in port for port in SERVICES[name]["ports"])


def test_no_container_has_more_rights_than_it_needs_or_no_limits() -> None:
    for name, service in SERVICES.items():
        assert service["cap_drop"] == ["ALL"], name
        assert service["read_only"] is True, name
        assert service["mem_limit"], name
        assert "privileged" not in service, name
        assert all(
            port.startswith(("127.0.0.1:", "${BIND:-127.0.0.1}:")) for port in service.get("ports", ())
        )
