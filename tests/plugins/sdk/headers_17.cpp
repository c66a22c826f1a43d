// The contract compiles as C++17.
#include <sluice/connector.h>

static_assert(sizeof(sluice_value) == 32, "seen from C++17");
