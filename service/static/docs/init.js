// Swagger UI, with the key that the page was given, or that is asked for here.

import { currentKey, hasKey, notLoaded, request } from "../keys.js";
import { preferred, speak } from "../text.js";

await speak(preferred()); // the form's words
const described = await request("openapi.json").catch(() => null);
if (described?.ok) {
  const ui = SwaggerUIBundle({
    url: described.url,
    spec: await described.json(),
    dom_id: "#swagger-ui",
    deepLinking: true,
    validatorUrl: null,
    onComplete: () => hasKey() && ui.preauthorizeApiKey("bearer", currentKey()),
  });
} else {
  document.getElementById("swagger-ui").append(...notLoaded());
}
