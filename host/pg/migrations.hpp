// The texts of migrations/*.sql; embed_migrations.cmake writes the source. Internal to pg/.
#pragma once

#include <span>

#include "pg/migrate.hpp"

namespace sluice::pg {
extern const std::span<const Migration> kMigrations;
}
