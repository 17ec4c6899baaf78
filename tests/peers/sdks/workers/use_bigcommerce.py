"""bigcommerce: by HTTPS_PROXY, two stores from one process."""

import json

from bigcommerce.api import BigcommerceApi

found = {}
for store in ("storem1", "storem2"):
    api = BigcommerceApi(client_id="an-app", store_hash=store, access_token="DUMMY")
    pages = [api.Products.all(limit=1, page=page)[0] for page in (1, 2)]
    created = api.Products.create(name="cup", type="physical", price="7.50")
    found[store] = {"read": pages[0].name, "pages": [p.id for p in pages], "wrote": [created.id, created.name]}
print(json.dumps(found))
