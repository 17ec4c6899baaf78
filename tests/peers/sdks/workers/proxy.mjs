// Node 20's fetch does not read HTTPS_PROXY; loaded with `node --import`, this makes it.
import { EnvHttpProxyAgent, setGlobalDispatcher } from "undici";

setGlobalDispatcher(new EnvHttpProxyAgent());
