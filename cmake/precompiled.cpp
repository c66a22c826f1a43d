// Carries the precompiled header, and the templates that it promises.
SLUICE_JSON_TEMPLATES(template)
