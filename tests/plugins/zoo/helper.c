/* The library that needs_library needs, and the entry that entry_from_dependency borrows. */
#include "plugin.h"
__attribute__((visibility("default"))) int zoo_helper(void);
int zoo_helper(void) { return SLUICE_STEP_DONE; }
IDLE_PLUGIN
