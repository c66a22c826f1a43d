#include "harbour_100_manifest.hpp"
#define HARBOUR_BUILD "1.0.0"
#include "harbour.hpp"
