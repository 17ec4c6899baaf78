// @shopify/shopify-api: by HTTPS_PROXY with proxy.mjs loaded first, two shops from one process; it fetches its own tokens.
import "@shopify/shopify-api/adapters/node";
import { ApiVersion, LogSeverity, shopifyApi } from "@shopify/shopify-api";

const shopify = shopifyApi({
  apiKey: "an-app", apiSecretKey: "DUMMY", apiVersion: ApiVersion.July26, hostName: "app.example", isEmbeddedApp: false,
  logger: { level: LogSeverity.Error },
});
const found = {};
for (const shop of ["m1-shop.myshopify.com", "m2-shop.myshopify.com"]) {
  const { session } = await shopify.auth.clientCredentials({ shop });
  const rest = new shopify.clients.Rest({ session });
  const first = await rest.get({ path: "products", query: { limit: 1 } });
  const second = await rest.get(first.pageInfo.nextPage);
  const created = await rest.post({ path: "products", data: { product: { title: "bowl" } } });
  const named = await new shopify.clients.Graphql({ session }).request("{ shop { name } }");
  found[shop] = {
    read: [first.body.products[0].title, named.data.shop.name], pages: [first.body.products[0].id, second.body.products[0].id],
    wrote: created.body.product.title,
  };
}
console.log(JSON.stringify(found));
