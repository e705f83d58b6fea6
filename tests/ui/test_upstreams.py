"""Server in front of a model that other servers run: each of them stands there with its state."""

from collections.abc import Callable
from pathlib import Path

from playwright.sync_api import expect

from tests.engines.upstream.servers import Scripted, asked, near, run
from tests.fakes import wait_until
from tests.ui.conftest import Watched

Open = Callable[..., Watched]


def test_server_when_others_run_a_model_then_each_has_a_row_with_its_state(open_page: Open, tmp_path: Path) -> None:
    with (
        run(Scripted()) as url,
        near(tmp_path, [url, "http://127.0.0.1:9/v1"]) as (client, registry),
    ):
        wait_until(lambda: registry.upstreams("far")[0].state == "up")
        assert asked(client).status_code == 200
        page = open_page(f"{client.base_url}/#server").page
        table = page.get_by_role("table", name="Servers behind this one")
        well, gone = table.get_by_role("row").filter(has_text=url), table.get_by_role("row").filter(has_text=":9/v1")
        expect(well.get_by_role("cell")).to_have_text(["far", url, "up", "0", "1", "0", "0"])
        expect(gone).to_contain_text("down: it can't be reached")
