"""The one-page report as a download, HTML and PDF, each made when it is asked for."""

from collections.abc import Callable, Sequence

import streamlit as st

from dashboard.engine.client import EngineClient, EngineError
from dashboard.evidence.find import Evidence
from dashboard.report.delivery import delivery_paper, read_applied
from dashboard.report.facts import Stored
from dashboard.report.hurt import Pictures
from dashboard.report.paper import to_html
from dashboard.report.pdf import find_chromium, print_pdf
from dashboard.session import state
from toast_core.engine.protocol import Description
from toast_core.studies.agreement.result import Agreement
from toast_core.studies.delivery.result import file_stem


def show_report(evidence: Evidence, record: Agreement) -> None:
    """What the report has, and its downloads; without a Chromium the browser's own print makes the PDF."""
    words, html, pdf = st.columns([4, 2, 2], vertical_alignment="center")
    words.markdown(
        "**One page for whoever decides**  \nBefore and after with intervals, who gets hurt, what is dropped, digests, and how to load the "
        "file. It needs nothing else, and prints on A4."
    )
    page, name = page_maker(evidence, state.engine_state(), state.engine_client()), f"{file_stem(record.model, record.schedule)}_report"
    html.download_button(
        "Report (HTML)", lambda: page().encode(), f"{name}.html", "text/html", key="deliver-report", on_click="ignore", width="stretch",
        type="primary",
    )
    if find_chromium():
        pdf.download_button(
            "Report (PDF)", lambda: print_pdf(page()), f"{name}.pdf", "application/pdf", key="deliver-pdf", on_click="ignore",
            width="stretch",
        )
    else:
        pdf.caption("No Chromium on the server: for a PDF, open the HTML and print it.")


def page_maker(evidence: Evidence, engine: Description, client: EngineClient) -> Callable[[], str]:
    """What makes the page, outside any session: the download calls it when it is clicked."""
    same = engine.data is not None and engine.data.digest == evidence.analysis.request.get("data_digest")
    names: Sequence[str] = engine.data.classes if same and engine.data else ()
    pictures = _pictures_of(client) if same else None

    def page() -> str:
        applied = read_applied(Stored(evidence.replay, evidence.analysis))
        return to_html([delivery_paper(applied, pictures, names)])

    return page


def _pictures_of(client: EngineClient) -> Pictures:
    def pictures(index: list[int]) -> Sequence[bytes | None]:
        try:
            return client.pictures(index)
        except EngineError:
            return [None] * len(index)

    return pictures
