// @woocommerce/woocommerce-rest-api by base URL: OAuth 1.0a in the query. The statuses of one call of each kind.
import module from "@woocommerce/woocommerce-rest-api";

const WooCommerceRestApi = module.default ?? module;
const api = new WooCommerceRestApi({
  url: process.env.BASE, consumerKey: "m1", consumerSecret: "cs_DUMMY", version: "wc/v3", timeout: 20000,
});
const answers = [
  await api.get("products", { per_page: 5, search: "a b+c=é", empty: "", include: [3, 4] }),
  await api.post("products", { name: "cup é" }),
  await api.put("products/1", { a: [1] }),
  await api.delete("products/1", { force: true }),
  await api.options("products"),
];
console.log(JSON.stringify(answers.map((answer) => answer.status)));
