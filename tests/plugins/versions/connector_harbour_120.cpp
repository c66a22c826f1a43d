#include "harbour_120_manifest.hpp"
#define HARBOUR_BUILD "1.2.0"
#include "harbour.hpp"
