"""POST /v1/embeddings: an answer that says why there are none.

A front-end that finds the endpoint builds an index with it, and nobody sees how good that is. Chat models are not
trained for it: means of their residuals follow the form of a text as much as what it says. A model that is trained for
it is small, and runs beside this server.
"""

from litestar import post

from proxy.errors import NotFound


@post("/embeddings", status_code=200, include_in_schema=False)
async def refuse_embeddings() -> None:
    raise NotFound(
        "This server makes no embeddings: chat models are not trained for them, and an index of them would be poor. "
        "Have your client use a model that is made for embeddings, such as all-MiniLM-L6-v2, by a setting or a server "
        "of its own.",
        code="no_embeddings",
    )
