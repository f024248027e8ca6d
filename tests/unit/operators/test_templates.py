"""What Airflow renders of operators, beside what its own tests know."""

from __future__ import annotations

from pathlib import Path

from airflow.sdk import DAG

from airflow_provider_riffusion.operators.riffusion import RiffusionCreateComposeOperator


def test_lyrics_come_from_a_file_with_templates(tmp_path: Path) -> None:
    (tmp_path / "harbor.lyrics").write_text("[Verse]\nMidnight harbor, {{ ds }}\n")
    with DAG("songs", template_searchpath=str(tmp_path)):
        operator = RiffusionCreateComposeOperator(
            task_id="compose",
            prompts=[{"text": "a waltz for {{ ds }}"}],
            lyrics="harbor.lyrics",
            # What another operator would take for files.
            title="The end.txt",
        )
    operator.render_template_fields({"ds": "2026-01-01"})
    operator.check_parameters()
    assert operator.lyrics == "[Verse]\nMidnight harbor, 2026-01-01"
    assert operator.prompts[0]["text"] == "a waltz for 2026-01-01"
    assert operator.title == "The end.txt"
