"""Describe this provider to Airflow, which reads this without importing any other part of the package."""

from typing import Any

_VENDORS_PAGE = "https://useapi.net/docs/api-riffusion-v1"
#: Of the extras of a connection, all of which the form shows: label, type and description.
EXTRAS = {
    "user_id": (
        "Account (user_id)",
        "string",
        "Needed when several are configured at useapi.net. Default: the only one.",
    ),
    "storage_path": (
        "Storage path",
        "string",
        "Folder of downloads, unless a task names one: /data/songs, or s3://conn_id@bucket/songs.",
    ),
    "timeout": ("Timeout (seconds)", "number", "For connecting, and for each read. Default: 60."),
    "low_speed_limit": (
        "Low speed limit (bytes per second)",
        "number",
        "A transfer that stays below it for the low speed time is aborted. Default: 1024.",
    ),
    "low_speed_time": ("Low speed time (seconds)", "number", "How long a transfer may be that slow. Default: 60."),
    "verify": ("Verify TLS", "string", "true, false, or the path of a CA bundle. Default: true."),
    "allow_http": (
        "Allow plain http",
        "boolean",
        "To another host than this machine; the token then crosses the network unencrypted. Default: off.",
    ),
    "proxies": (
        "Proxies",
        "string",
        'A URL, or JSON: {"https": "socks5h://127.0.0.1:1080"}. Default: HTTPS_PROXY and the like.',
    ),
    "cert": ("Client certificate", "string", "A path, or JSON: [certificate, key]. Default: none."),
    "headers": ("Headers", "string", 'For a gateway, as JSON: {"X-Api-Key": "..."}; kept secret. Default: none.'),
}


def get_provider_info() -> dict[str, Any]:
    """Return the provider's metadata, of the form that Airflow's ``provider_info.schema.json`` gives."""
    return {
        "package-name": "airflow-provider-riffusion",
        "name": "Riffusion",
        "description": "Songs from the useapi.net Riffusion API v1: start, wait, list, and download mp3, wav or stems.",
        "integrations": [{"integration-name": "Riffusion", "external-doc-url": _VENDORS_PAGE, "tags": ["service"]}],
        **{
            kind: [{"integration-name": "Riffusion", "python-modules": [f"{__package__}.{kind}.riffusion"]}]
            for kind in ("hooks", "operators", "sensors", "triggers")
        },
        # Airflow 3.1 does not know the key, and leaves it alone.
        "cli": [f"{__package__}.cli.definition.get_riffusion_cli_commands"],
        "extra-links": ["airflow_provider_riffusion.links.riffusion.RiffusionSongLink"],
        "connection-types": [
            {
                "connection-type": "riffusion",
                "hook-class-name": "airflow_provider_riffusion.hooks.riffusion.RiffusionHook",
                "hook-name": "Riffusion",
                "ui-field-behaviour": {
                    # The port stays, because the form's test button refuses a connection that has none stored.
                    "hidden-fields": ["login"],
                    "relabeling": {"password": "API token", "host": "Base URL", "schema": "Scheme (http or https)"},
                    "placeholders": {
                        "host": "https://api.useapi.net",
                        "schema": "https; or leave it empty, and write it in the base URL",
                        "port": "type 443, or that of the base URL: without it the test button says Bad Request",
                        "password": "user:1234-abcdef",
                        "extra": '{"user_id": "...", "storage_path": "s3://conn_id@bucket/songs", "timeout": 60}',
                    },
                },
                "conn-fields": {
                    name: {"label": label, "description": description, "schema": {"type": [kind, "null"]}}
                    for name, (label, kind, description) in EXTRAS.items()
                },
            }
        ],
    }
