// Entity types: what there is, and the organisation's own.
#include "api/api.hpp"
#include "api/problem.hpp"

#include "base/ascii.hpp"
#include "base/exact_json.hpp"
#include "base/log.hpp"
#include "model/import.hpp"
#include "model/infer.hpp"
#include "model/other_files.hpp"
#include "model/own_types.hpp"
#include "model/row_counts.hpp"
#include "sync/audit.hpp"
#include "sync/import_run.hpp"
#include "sync/link_rules.hpp"
#include "sync/path_attributes.hpp"
#include "sync/type_drop.hpp"
#include "sync/view_work.hpp"

#include <fmt/format.h>

#include <array>
#include <exception>
#include <optional>
#include <utility>

namespace sluice::api {
namespace {

using nlohmann::json;

json describe(const model::StoredType& type, const model::RowCounts& counts) {
  json document;
  document["name"] = type.name;
  document["origin"] = type.own ? "own" : "preset";
  if (!type.own) document["connector"] = type.connector;
  document["rows"] = counts.of(type);
  document["display_attribute"] = type.display_attribute;
  document["attributes"] = json::array();
  for (const model::StoredAttribute& attribute : type.attributes) {
    json one;
    one["name"] = attribute.name;
    one["type"] = contract::to_string(attribute.type);
    if (!attribute.format.empty()) one["format"] = attribute.format;
    one["protected"] = attribute.is_protected;
    one["required"] = attribute.required;
    one["personal"] = attribute.personal;
    if (type.own) one["unique"] = attribute.unique;
    if (!attribute.path.empty()) one["path"] = model::joined_path(attribute.path);
    if (attribute.key_kind) one["link_key"] = contract::to_string(*attribute.key_kind);
    document["attributes"].push_back(std::move(one));
  }
  document["relationships"] = json::array();
  for (const model::StoredRelationship& relationship : type.relationships) {
    document["relationships"].push_back({{"name", relationship.name},
                                         {"attribute", relationship.attribute},
                                         {"target", relationship.target_name}});
  }
  return document;
}

Task<HttpResponse> list(Call& call) {
  const model::CatalogPtr catalog = co_await catalog_of(call);
  const model::RowCounts counts = co_await model::row_counts(call.services.pool, call.workspace);
  json all = json::array();
  for (const model::StoredType& type : catalog->types) all.push_back(describe(type, counts));
  json document;
  document["types"] = std::move(all);
  co_return HttpResponse::json(document);
}

Task<HttpResponse> show(Call& call) {
  const model::CatalogPtr catalog = co_await catalog_of(call);
  const model::StoredType* type = catalog->find(call.part("type"));
  if (type == nullptr) throw Failure(model::no_such_type(call.part("type")));
  const model::RowCounts counts = co_await model::row_counts(call.services.pool, call.workspace);
  co_return HttpResponse::json(describe(*type, counts));
}

/// The views are those of the catalogue as it is now; what stays stale, in words.
Task<json> refresh(Call& call, pg::Connection& connection) {
  call.services.catalogs.invalidate(call.workspace);
  const std::vector<std::string> notes = co_await call.services.connections.view_rounds().renew(
      connection, call.workspace, call.workspace_name);
  call.services.engine.kick();
  co_return json(notes);
}

/// What new attributes of a type leave to durable work, in their own transaction.
Task<void> leave_work(Call& call, pg::Transaction& transaction, std::string type,
                      std::vector<std::string> attributes) {
  co_await sync::renew_views(transaction, call.workspace, call.actor().name());
  co_await sync::apply_rules_of(transaction, call.workspace, std::move(type), std::move(attributes),
                                call.actor().name());
}

json with_notes(json document, json notes) {
  if (!notes.empty()) document["notes"] = std::move(notes);
  return document;
}

struct MadeType {
  model::OwnType type;
  json notes;
};

Task<MadeType> make_type(Call& call, model::OwnType wanted) {
  auto connection = co_await call.services.pool.acquire();
  auto transaction = co_await pg::Transaction::begin(*connection);
  MadeType made;
  made.type =
      expect(co_await model::create_own_type(transaction, call.workspace, std::move(wanted)));
  co_await audit(transaction, call, "type.create", made.type.name, json::object());
  std::vector<std::string> attributes;
  for (const model::OwnAttribute& one : made.type.attributes) attributes.push_back(one.name);
  co_await leave_work(call, transaction, made.type.name, std::move(attributes));
  co_await transaction.commit();
  made.notes = co_await refresh(call, *connection);
  co_return made;
}

Task<HttpResponse> create(Call& call) {
  const json body = co_await call.body();
  MadeType made = co_await make_type(call, expect(model::own_type_from_json(body)));
  co_return HttpResponse::json(with_notes(model::to_json(made.type), std::move(made.notes)), 201);
}

/// A type of a connector as far as it is the workspace's: with the attribute alone.
json to_json(const sync::PathAttribute& added) {
  model::OwnType type;
  type.id = added.type;
  type.name = added.type_name;
  type.attributes.push_back(added.attribute);
  json document = model::to_json(type);
  document["work"] = added.work ? json(id_text(*added.work)) : json(nullptr);
  return document;
}

Task<HttpResponse> add_path(Call& call, model::OwnAttribute wanted) {
  auto connection = co_await call.services.pool.acquire();
  auto added = co_await sync::add_path_attribute(*connection, call.workspace, call.part("type"),
                                                 std::move(wanted), call.actor());
  json document = to_json(expect(std::move(added)));
  json notes = co_await refresh(call, *connection);
  co_return HttpResponse::json(with_notes(std::move(document), std::move(notes)), 201);
}

/// A connector's type takes only what has a path.
Task<void> refuse_without_path(Call& call, std::string name) {
  const model::CatalogPtr catalog = co_await catalog_of(call);
  const model::StoredType* const type = catalog->find(call.part("type"));
  if (type == nullptr || type->own) co_return;
  throw Failure(
      Error(ErrorKind::denied, "type.read_only",
            fmt::format("{} belongs to the connector {}: what can be added is what stands "
                        "inside of its JSON",
                        type->name, type->connector),
            fmt::format("say where: sluice entity add-attribute {} {} --path "
                        "metadata.NAME, or \"path\" in the body",
                        type->name, name.substr(0, 100))));
}

Task<HttpResponse> add_attribute(Call& call) {
  const json body = co_await call.body();
  model::OwnAttribute wanted = expect(model::own_attribute_from_json(body));
  if (!wanted.path.empty()) co_return co_await add_path(call, std::move(wanted));
  co_await refuse_without_path(call, wanted.name);
  const std::string subject = call.part("type") + "." + wanted.name;
  std::vector<std::string> attributes(1, wanted.name);
  auto connection = co_await call.services.pool.acquire();
  auto transaction = co_await pg::Transaction::begin(*connection);
  const model::OwnType made = expect(co_await model::add_own_attribute(
      transaction, call.workspace, call.part("type"), std::move(wanted)));
  co_await audit(transaction, call, "type.add_attribute", subject, json::object());
  co_await leave_work(call, transaction, made.name, std::move(attributes));
  co_await transaction.commit();
  json notes = co_await refresh(call, *connection);
  co_return HttpResponse::json(with_notes(model::to_json(made), std::move(notes)), 201);
}

Task<HttpResponse> drop_attribute(Call& call) {
  auto connection = co_await call.services.pool.acquire();
  auto dropped = co_await sync::drop_path_attribute(*connection, call.workspace, call.part("type"),
                                                    call.part("attribute"), call.actor());
  const sync::PathAttribute gone = expect(std::move(dropped));
  json document = json::object();
  document["type"] = gone.type_name;
  document["name"] = gone.attribute.name;
  document["path"] = gone.attribute.path;
  document["work"] = gone.work ? json(id_text(*gone.work)) : json(nullptr);
  json notes = co_await refresh(call, *connection);
  co_return HttpResponse::json(with_notes(std::move(document), std::move(notes)), 202);
}

/// What goes with an own type.
Task<HttpResponse> uses(Call& call) {
  const std::string name = call.part("type");
  const model::CatalogPtr catalog = co_await catalog_of(call);
  const model::StoredType* type = catalog->find(name);
  if (type == nullptr) {
    const auto dropped =
        co_await model::find_dropped_type(call.services.pool, call.workspace, name);
    if (dropped && dropped->going) throw Failure(model::being_dropped(name));
    throw Failure(model::no_such_type(name));
  }
  if (!type->own) {
    throw Failure(Error(ErrorKind::denied, "type.read_only",
                        "'" + name + "' is a connector's type, and stays as long as that",
                        "sluice connection list"));
  }
  auto connection = co_await call.services.pool.acquire();
  const model::RowCounts counts = co_await model::row_counts(*connection, call.workspace);
  const std::vector<sync::RuleOfType> rules =
      co_await sync::rules_of_type(*connection, call.workspace, name);
  json document;
  document["type"] = name;
  document["rows"] = counts.of(*type);
  document["rules"] = json::array();
  for (const sync::RuleOfType& rule : rules) {
    json one;
    one["name"] = rule.name;
    one["goes"] = rule.goes;
    one["links"] = rule.links;
    one["decisions"] = rule.decisions;
    one["exact"] = rule.exact;
    document["rules"].push_back(std::move(one));
  }
  co_return HttpResponse::json(document);
}

Task<HttpResponse> drop(Call& call) {
  const std::string name = call.part("type");
  auto connection = co_await call.services.pool.acquire();
  const sync::TypeDrop drop =
      expect(co_await sync::drop_type(*connection, call.workspace, name, call.actor()));
  json notes = co_await refresh(call, *connection);
  json document;
  document["name"] = name;
  document["work"] = id_text(drop.work);
  document["rules"] = drop.rules;
  co_return HttpResponse::json(with_notes(std::move(document), std::move(notes)), 202);
}

Task<HttpResponse> refresh_views(Call& call) {
  auto connection = co_await call.services.pool.acquire();
  json notes = co_await refresh(call, *connection);
  json document;
  document["ok"] = notes.empty();
  document["notes"] = std::move(notes);
  co_return HttpResponse::json(document);
}

/// What a parameter of few words says; nullopt when it is not there.
template <class T, std::size_t N>
std::optional<T> choice(const Call& call, std::string_view name,
                        const std::array<std::pair<std::string_view, T>, N>& known) {
  const auto given = call.http.parameter(name);
  if (!given) return std::nullopt;
  std::string words;
  for (const auto& [word, value] : known) {
    if (*given == word) return value;
    words += (words.empty() ? "" : " or ") + std::string(word);
  }
  bad_request("request.bad_parameter", fmt::format("{} must be {}", name, words));
}

/// ?encoding=, or what the Content-Type says.
std::optional<model::Encoding> encoding_of(const Call& call) {
  constexpr std::string_view kKnown = "utf-8, utf-16le, utf-16be and windows-1252 are read";
  if (const auto given = call.http.parameter("encoding")) {
    if (const auto known = model::encoding_named(*given)) return known;
    bad_request("request.bad_parameter", "there is no encoding of that name here",
                std::string(kKnown));
  }
  const std::string type = in_lower_case(call.http.content_type);
  const std::size_t at = type.find("charset=");
  if (at == std::string::npos) return std::nullopt;
  std::string name = type.substr(at + 8, type.find(';', at) - at - 8);
  std::erase_if(name, [](char c) { return c == '"' || c == ' '; });
  if (const auto known = model::encoding_named(name)) return known;
  bad_request(
      "request.unsupported_charset",
      fmt::format("the Content-Type says charset={}, which is not read here", name.substr(0, 40)),
      std::string(kKnown));
}

/// ?map={"Column":"attribute","Other":null}
std::map<std::string, std::string> map_of(const Call& call) {
  std::map<std::string, std::string> map;
  const auto given = call.http.parameter("map");
  if (!given) return map;
  const auto document = read_json(*given, kJsonDepthMax);
  const auto refuse = [] {
    bad_request("request.bad_parameter", "map must be a JSON object of columns and attributes",
                "such as {\"E-Mail\":\"email\",\"Phone\":null}, percent-encoded; null leaves the "
                "column out");
  };
  if (!document || !document->is_object()) refuse();
  for (const auto& [column, attribute] : document->items()) {
    if (!attribute.is_null() && !attribute.is_string()) refuse();
    map[column] = attribute.is_null() ? std::string() : attribute.get<std::string>();
  }
  return map;
}

model::FormWish form_of(const Call& call) {
  static constexpr std::array<std::pair<std::string_view, model::DecimalMark>, 2> kMarks = {
      {{"point", model::DecimalMark::point}, {"comma", model::DecimalMark::comma}}};
  static constexpr std::array<std::pair<std::string_view, model::DateOrder>, 2> kOrders = {
      {{"dmy", model::DateOrder::day_first}, {"mdy", model::DateOrder::month_first}}};
  model::FormWish form;
  form.encoding = encoding_of(call);
  form.map = map_of(call);
  form.decimal = choice(call, "decimal", kMarks);
  form.dates = choice(call, "dates", kOrders);
  if (const auto zone = call.http.parameter("zone")) {
    form.zone_minutes = model::read_offset(*zone);
    if (!form.zone_minutes) {
      bad_request("request.bad_parameter", "zone must be an offset such as +01:00, or UTC",
                  "a '+' in a query is written %2B");
    }
  }
  if (auto separator = call.http.parameter("separator")) {
    if (*separator == "tab") separator = "\t";
    if (separator->size() != 1)
      bad_request("request.bad_parameter", "separator must be one character, or tab");
    form.separator = (*separator)[0];
  }
  return form;
}

model::ImportOptions import_options(const Call& call) {
  model::ImportOptions options;
  if (!call.http.content_encoding.empty() && call.http.content_encoding != "identity") {
    bad_request("request.unsupported_encoding",
                fmt::format("the body is {}, and an import is read as it is",
                            call.http.content_encoding.substr(0, 40)),
                "Unpack it first: gzip -dc FILE | curl --data-binary @- …");
  }
  const std::string& sent_as = call.http.content_type;
  const bool says_ndjson = sent_as.starts_with("application/x-ndjson");
  if (!call.http.parameter("format") && !sent_as.empty() && !says_ndjson &&
      !sent_as.starts_with("text/csv")) {
    bad_request("request.unsupported_media_type", "an import is text/csv or application/x-ndjson",
                "Send that Content-Type, or say ?format=csv or ?format=ndjson");
  }
  const std::string format = call.http.parameter("format").value_or(says_ndjson ? "ndjson" : "csv");
  options.format = format == "csv" ? model::ImportFormat::csv : model::ImportFormat::ndjson;
  options.key = call.http.parameter("key").value_or("");
  const std::string empty = call.http.parameter("empty").value_or("absent");
  options.empty = empty == "null" ? model::EmptyField::null : model::EmptyField::absent;
  options.form = form_of(call);
  options.dry_run = call.flag("dry_run");
  options.from_line = call.number("from_line").value_or(0);
  return options;
}

json counts_of(const model::ImportProgress& progress) {
  json counts = json::object();
  counts["rows"] = progress.rows;
  counts["inserted"] = progress.inserted;
  counts["updated"] = progress.updated;
  counts["unchanged"] = progress.unchanged;
  counts["rejected"] = progress.rejected;
  return counts;
}

/// One import on its way, and its entry among the runs.
class Import {
 public:
  Import(Call& call, model::ImportOptions options)
      : call_(call), options_(std::move(options)), type_(call.part("type")) {}

  Task<HttpResponse> run() {
    model::CatalogPtr catalog = co_await catalog_of(call_);
    if (call_.flag("create_type")) catalog = co_await create_type(catalog);
    if (!options_.dry_run) co_await begin();
    std::exception_ptr failure;
    try {
      importer_.emplace(expect(model::Importer::make(call_.services.pool, std::move(catalog), type_,
                                                     std::move(options_))));
      co_await send_all();
    } catch (...) {
      failure = std::current_exception();
    }
    if (failure) co_await fail(failure);
    if (run_) co_await end();
    call_.services.engine.kick();
    json answer = model::to_json(result_);
    answer["run"] = run_ ? json(id_text(*run_)) : json(nullptr);
    if (!created_.is_null()) answer["created"] = std::move(created_);
    co_return HttpResponse::json(answer);
  }

 private:
  Task<void> begin() {
    sync::ImportFile file;
    file.type = type_;
    file.name = call_.http.parameter("file").value_or("");
    file.bytes = call_.http.content_length;
    const sync::AuditId line = co_await sync::draw_audit_id(call_.services.pool);
    run_ = co_await sync::begin_import(call_.services.pool, call_.workspace, call_.actor(),
                                       std::move(file));
    options_.run = *run_;
    // By value: it may be asked when the request has just gone.
    options_.beside = [workspace = call_.workspace, actor = call_.actor(), type = type_,
                       run = *run_,
                       line](pg::Pipeline& pipeline, const model::ImportProgress& so_far) {
      json detail = counts_of(so_far);
      detail["run"] = id_text(run);
      pg::Call audited = sync::audit_so_far(workspace, line, actor, "type.import", type, detail);
      pipeline.add(*audited.statement, std::move(audited.params));
      pg::Call told = sync::import_so_far(workspace, run, so_far);
      pipeline.add(*told.statement, std::move(told.params));
    };
  }

  /// The type that the file's beginning speaks of, made; of a dry run only in our catalogue.
  Task<model::CatalogPtr> create_type(model::CatalogPtr catalog) {
    if (options_.format != model::ImportFormat::csv)
      bad_request("request.bad_parameter", "a type is made from CSV only",
                  "make it first: sluice entity create-type");
    if (catalog->find(type_) != nullptr) {
      throw Failure(Error(ErrorKind::conflict, "type.name_taken",
                          fmt::format("the workspace has a type {} already", type_),
                          "leave create_type (--create-type) away"));
    }
    const auto dropped =
        co_await model::find_dropped_type(call_.services.pool, call_.workspace, type_);
    if (dropped && dropped->going) throw Failure(model::being_dropped(type_));
    while (!ended_ && beginning_.size() < model::kSniffedBytes) {
      const std::string piece = co_await call_.http.body->next();
      ended_ = piece.empty();
      beginning_ += piece;
    }
    model::refuse_other_files(beginning_, true);
    model::InferredType inferred =
        model::infer_type(beginning_, ended_, type_, options_.key, options_.form);
    options_.form = std::move(inferred.form);
    options_.key.clear();  // by the column's name; the attribute is the type's only unique one
    if (options_.dry_run) {
      model::OwnType wanted = inferred.type;
      co_await judge_type(std::move(wanted));
    }
    const model::CatalogPtr as_if = with_type(*catalog, inferred.type);
    co_await require_a_good_row(as_if);
    if (options_.dry_run) {
      created_ = model::to_json(inferred.type);
      co_return as_if;
    }
    MadeType made = co_await make_type(call_, std::move(inferred.type));
    created_ = with_notes(model::to_json(made.type), std::move(made.notes));
    co_return co_await catalog_of(call_);
  }

  static model::CatalogPtr with_type(const model::Catalog& catalog, const model::OwnType& type) {
    auto with = std::make_shared<model::Catalog>(catalog);
    model::StoredType stored = model::stored_type_of(type);
    const auto place = std::lower_bound(
        with->types.begin(), with->types.end(), stored.name,
        [](const model::StoredType& one, const std::string& name) { return one.name < name; });
    with->types.insert(place, std::move(stored));
    return with;
  }

  /// Throws what making it would: it is made, and taken back.
  Task<void> judge_type(model::OwnType wanted) {
    auto connection = co_await call_.services.pool.acquire();
    auto transaction = co_await pg::Transaction::begin(*connection);
    (void)expect(co_await model::create_own_type(transaction, call_.workspace, std::move(wanted)));
    co_await transaction.rollback();
  }

  /// No type is made of a file that has nothing for it: its beginning is looked at as by a dry run,
  /// in the catalogue that has the type.
  Task<void> require_a_good_row(model::CatalogPtr catalog) {
    model::ImportOptions look = options_;
    look.dry_run = true;
    look.from_line = 0;
    model::Importer importer = expect(
        model::Importer::make(call_.services.pool, std::move(catalog), type_, std::move(look)));
    co_await importer.feed(beginning_);
    const model::ImportResult seen = co_await importer.finish();
    if (seen.rows > seen.rejected) co_return;
    // The last row of a beginning is cut: by itself it says nothing.
    if (!ended_ && seen.rows <= 1) co_return;
    std::string why = "the file has no row below its header";
    if (!seen.rejects.empty()) {
      why = fmt::format("{} can be stored; line {}: {}",
                        seen.rows == 1 ? "not even the file's one row"
                                       : fmt::format("none of the file's first {} rows", seen.rows),
                        seen.rejects.front().line, seen.rejects.front().reason);
    }
    throw Failure(Error(ErrorKind::bad_input, "import.no_good_row",
                        "no type is made: " + std::move(why),
                        "correct the file, or make the type by hand: sluice entity create-type"));
  }

  Task<void> send_all() {
    if (!beginning_.empty()) {
      const std::string beginning = std::exchange(beginning_, std::string());
      co_await importer_->feed(beginning);
    }
    while (!ended_) {
      const std::string piece = co_await call_.http.body->next();
      ended_ = piece.empty();
      if (ended_) break;
      co_await importer_->feed(piece);
      co_await beat();
    }
    result_ = co_await importer_->finish();
  }

  /// Says how far it is, also while nothing changes.
  Task<void> beat() {
    constexpr std::chrono::seconds kEvery{1};
    const auto now = call_.services.clock.steady();
    if (!run_ || now - told_at_ < kEvery) co_return;
    told_at_ = now;
    pg::Call told = sync::import_so_far(call_.workspace, *run_, progress());
    co_await call_.services.pool.query(*told.statement, std::move(told.params));
  }

  [[nodiscard]] model::ImportProgress progress() const {
    return importer_ ? importer_->progress() : model::ImportProgress();
  }

  /// All is stored, whether the run can say so or not: then retention ends it.
  Task<void> end() {
    try {
      const model::ImportProgress all = progress();
      std::optional<Error> none;
      co_await sync::end_import(call_.services.pool, call_.workspace, *run_, all, std::move(none));
    } catch (const pg::QueryError& unsaid) {
      log::warning("import.end_not_kept", {{"run", run_->value}, {"error", unsaid.what()}});
    }
    tell_end("");
  }

  /// The run's end, and the failure with how many rows are stored.
  Task<void> fail(std::exception_ptr failure) {
    if (importer_) co_await importer_->settle();
    if (!run_) std::rethrow_exception(failure);
    const model::ImportProgress stored = progress();
    Error error(ErrorKind::internal, "import.failed", "the import ended early");
    bool told = true;
    try {
      std::rethrow_exception(failure);
    } catch (const pg::QueryError& refused) {
      // Else whoever answers the request has words for it.
      told = stored.rows > 0 && !sync::was_revoked(refused);
      error = error_of(refused, told ? Done::a_part : Done::nothing);
    } catch (const Failure& known) {
      error = known.error();
      if (importer_) tell_dropped(error);
    } catch (const std::exception&) {
      told = false;
    }
    if (told && stored.rows > 0) {
      error.message +=
          fmt::format("; {} stored ({} new, {} changed, {} unchanged) and {} rejected",
                      stored.rows - stored.rejected == 1
                          ? "1 row is"
                          : fmt::format("{} rows are", stored.rows - stored.rejected),
                      stored.inserted, stored.updated, stored.unchanged, stored.rejected);
      error.hint = how_to_go_on(error, stored);
    }
    tell_end(error.code);
    std::exception_ptr unended;
    std::optional<Error> ended(error);
    try {
      co_await sync::end_import(call_.services.pool, call_.workspace, *run_, stored,
                                std::move(ended));
    } catch (const std::exception&) {
      unended = std::current_exception();  // retention ends it
    }
    if (!told) std::rethrow_exception(failure);
    throw Failure(std::move(error));
  }

  /// What there is to do after a part of the file is stored. Rows of a type without a unique
  /// attribute are never one with those that are there, so what is done is not sent again.
  [[nodiscard]] std::string how_to_go_on(const Error& error,
                                         const model::ImportProgress& stored) const {
    const bool is_matched = importer_ && !importer_->key().empty();
    const bool stops = error.code == "host.stopping";
    if (is_matched && !stops && !error.hint.empty()) return error.hint;
    std::string text = stops || error.hint.empty() ? "" : error.hint + ". ";
    const std::string when = stops ? " when the host is back" : "";
    const std::string how = created_.is_null() ? "" : ", without --create-type (create_type)";
    if (is_matched || stored.line == 0) {
      return text +
             fmt::format("Send the file again{}{}: what is stored stays as it is", when, how);
    }
    if (error.kind == ErrorKind::unknown_outcome) {
      return text + fmt::format(
                        "The last rows may be stored or not: sluice run show {} says up to which "
                        "line (file_line) the file is done; send it again from the next one with "
                        "--from-line (?from_line=){}",
                        run_->value, how);
    }
    return text + fmt::format(
                      "Everything up to line {} is done: send the file again{} with --from-line {} "
                      "(?from_line={}){}. Whole, these rows would be there twice",
                      stored.line, when, stored.line + 1, stored.line + 1, how);
  }

  /// Said by the database of now, whatever catalogue the import began with: to send the file again
  /// is no help.
  void tell_dropped(Error& error) const {
    if (error.code != "type.not_found") return;
    error.kind = ErrorKind::conflict;
    error.code = "import.type_dropped";
    error.hint = "What was stored of the file went with the type. sluice entity types";
  }

  /// `code` of what ended it early.
  void tell_end(const std::string& code) const {
    const model::ImportProgress all = progress();
    log::info("import.ended", {{"workspace", call_.workspace.value},
                               {"run", run_->value},
                               {"type", type_},
                               {"rows", all.rows},
                               {"inserted", all.inserted},
                               {"updated", all.updated},
                               {"unchanged", all.unchanged},
                               {"rejected", all.rejected},
                               {"code", code}});
  }

  Call& call_;
  model::ImportOptions options_;
  std::string type_;
  std::optional<RunId> run_;
  std::optional<model::Importer> importer_;
  model::ImportResult result_;
  json created_;
  std::string beginning_;
  bool ended_ = false;
  std::chrono::steady_clock::time_point told_at_{};
};

Task<HttpResponse> import(Call& call) {
  Import one(call, import_options(call));
  co_return co_await one.run();
}

constexpr std::array kImportQuery = {
    Parameter{.name = "format",
              .says = "when the Content-Type does not say it",
              .kind = ParameterKind::choice,
              .choices = "csv ndjson"},
    Parameter{.name = "key",
              .says = "the unique attribute by which a row is one that is there; the type's first, "
                      "when it is not there"},
    Parameter{.name = "empty",
              .says = "what an empty field of CSV does: leave what is stored, or clear it",
              .kind = ParameterKind::choice,
              .choices = "absent null"},
    Parameter{.name = "separator",
              .says = "of fields of CSV, one character or tab; told from the file otherwise"},
    Parameter{.name = "encoding",
              .says = "utf-8, utf-16le, utf-16be or windows-1252; what the Content-Type's charset "
                      "says, or told from the file otherwise"},
    Parameter{.name = "decimal",
              .says = "point or comma, of decimals in CSV; told from the file otherwise",
              .kind = ParameterKind::choice,
              .choices = "point comma"},
    Parameter{.name = "dates",
              .says = "dmy or mdy, of dates such as 03/04/2024; told from the file otherwise",
              .kind = ParameterKind::choice,
              .choices = "dmy mdy"},
    Parameter{.name = "zone",
              .says = "offset of times that do not say theirs, such as +01:00; UTC otherwise"},
    Parameter{.name = "map",
              .says = "a JSON object of columns and the attributes that they are stored as; null "
                      "leaves a column out"},
    Parameter{.name = "dry_run",
              .says = "everything is looked at and nothing stored",
              .kind = ParameterKind::flag},
    Parameter{.name = "create_type",
              .says = "makes the type from a CSV file's beginning; key names the column that is "
                      "unique",
              .kind = ParameterKind::flag},
    Parameter{.name = "from_line",
              .says = "passes over rows before this line, of a file of which that much is done "
                      "(file_line of the run); the header is read all the same",
              .kind = ParameterKind::whole,
              .least = 1,
              .most = model::kImportLineMax,
              .otherwise = 1},
    Parameter{.name = "file", .says = "what the run calls the file"}};

constexpr std::array<Route, 9> kRoutes = {{
    {.method = "GET",
     .pattern = "/v1/workspaces/{workspace}/types",
     .access = Access::reader,
     .operation = "listTypes",
     .summary = "All entity types with attributes and relationships",
     .handler = list,
     .answer = "TypeList"},
    {.method = "POST",
     .pattern = "/v1/workspaces/{workspace}/types",
     .access = Access::admin,
     .operation = "createType",
     .summary = "Makes an own type",
     .handler = create,
     .body = "TypeNew",
     .answer = "OwnType",
     .status = "201",
     .problems = "400 type.* attribute.* 409 type.* attribute.* views.*"},
    {.method = "GET",
     .pattern = "/v1/workspaces/{workspace}/types/{type}",
     .access = Access::reader,
     .operation = "getType",
     .summary = "One entity type",
     .handler = show,
     .answer = "Type",
     .problems = "404 type.not_found"},
    {.method = "DELETE",
     .pattern = "/v1/workspaces/{workspace}/types/{type}",
     .access = Access::admin,
     .operation = "dropType",
     .summary = "Drops an own type, with its entities and link rules of your own that name it, by "
                "the work that it answers with",
     .handler = drop,
     .answer = "TypeGoing",
     .status = "202",
     .problems = "403 type.read_only 404 type.not_found 409 type.being_dropped"},
    {.method = "GET",
     .pattern = "/v1/workspaces/{workspace}/types/{type}/uses",
     .access = Access::reader,
     .operation = "getTypeUses",
     .summary = "What goes when an own type is dropped: its entities, and links by rule",
     .handler = uses,
     .answer = "TypeUses",
     .problems = "403 type.read_only 404 type.not_found 409 type.being_dropped"},
    {.method = "POST",
     .pattern = "/v1/workspaces/{workspace}/types/{type}/attributes",
     .access = Access::admin,
     .operation = "addAttribute",
     .summary =
         "Adds an attribute to an own type, or to a connector's what stands at a path in its "
         "JSON",
     .handler = add_attribute,
     .body = "AttributeNew",
     .answer = "OwnType",
     .status = "201",
     .problems = "400 type.* attribute.* 403 type.read_only 404 type.not_found 409 type.* "
                 "attribute.* views.*"},
    {.method = "DELETE",
     .pattern = "/v1/workspaces/{workspace}/types/{type}/attributes/{attribute}",
     .access = Access::admin,
     .operation = "dropAttribute",
     .summary = "Takes an attribute with a path away from a connector's type; its keys go by the "
                "work that it answers with",
     .handler = drop_attribute,
     .answer = "AttributeDropped",
     .status = "202",
     .problems = "404 type.not_found attribute.not_found 409 attribute.*"},
    {.method = "POST",
     .pattern = "/v1/workspaces/{workspace}/types/{type}/import",
     .access = Access::admin,
     .operation = "importEntities",
     .summary = "Imports CSV or NDJSON, streaming. Rows that are refused are listed",
     .handler = import,
     .query = kImportQuery,
     .answer = "ImportResult",
     .problems = "400 import.* type.* attribute.* entity.bad_key 403 import.read_only 404 "
                 "type.not_found 408 "
                 "request.cut 409 type.name_taken type.being_dropped import.type_dropped 413 "
                 "request.too_large 415 "
                 "request.unsupported_media_type request.unsupported_encoding "
                 "request.unsupported_charset 503 entity.contended "
                 "host.stopping",
     .takes = "text/csv application/x-ndjson"},
    {.method = "POST",
     .pattern = "/v1/workspaces/{workspace}/views/refresh",
     .access = Access::admin,
     .operation = "refreshViews",
     .summary = "Makes the SQL views those of the catalogue; notes say which could not be, and why",
     .handler = refresh_views,
     .answer = "ViewsRefreshed"},
}};

}  // namespace

std::span<const Route> type_routes() { return kRoutes; }

}  // namespace sluice::api
