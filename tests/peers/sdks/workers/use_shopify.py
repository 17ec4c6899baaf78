"""ShopifyAPI: by HTTPS_PROXY, two shops from one process."""

import json

import shopify

found = {}
for shop in ("m1-shop.myshopify.com", "m2-shop.myshopify.com"):
    with shopify.Session.temp(shop, "2024-10", "shpat_DUMMY"):
        first = shopify.Product.find(limit=1)
        created = shopify.Product.create({"title": "bowl"})
        found[shop] = {"read": first[0].title, "pages": [first[0].id, first.next_page()[0].id], "wrote": [created.id, created.title]}
print(json.dumps(found))
