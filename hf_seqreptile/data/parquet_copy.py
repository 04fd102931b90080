"""The copy in Parquet that the Hub keeps of a dataset whose own files only a loading script could read.

Its branch has no card, so that `datasets` takes all of it for one configuration: each folder is one in truth.
"""

from pathlib import Path

from huggingface_hub import HfApi, snapshot_download
from huggingface_hub.errors import HfHubHTTPError, RevisionNotFoundError
from huggingface_hub.hf_api import RepoFolder

_BRANCH = "refs/convert/parquet"


def copied_configs(name: str, token: str | bool | None) -> list[str]:
    """The configurations in the copy of the dataset `name`; offline, those that have been downloaded.

    Without a copy there are none.

    Raises:
        OSError: the Hub refuses to list them; offline, nothing has been downloaded.
    """
    try:
        entries = HfApi(token=token).list_repo_tree(name, repo_type="dataset", revision=_BRANCH)
        return [entry.path for entry in entries if isinstance(entry, RepoFolder)]
    except RevisionNotFoundError:
        return []
    except HfHubHTTPError:
        raise
    except Exception:
        # Out of reach: which class says so depends on the version of the HTTP client.
        # No file is asked for, since a copy that lacks one that is asked for is refused.
        folder = snapshot_download(
            name, repo_type="dataset", revision=_BRANCH, allow_patterns=[], local_files_only=True
        )
        return sorted(path.name for path in Path(folder).iterdir() if path.is_dir())


def download_copy(name: str, config: str, token: str | bool | None) -> Path:
    """The folder with one configuration's Parquet files, downloaded unless it is there.

    Raises:
        OSError: a failed download; offline, also a configuration that has not been downloaded.
    """
    files = f"{config}/*"
    folder = snapshot_download(name, repo_type="dataset", revision=_BRANCH, allow_patterns=files, token=token)
    return Path(folder) / config
