// Tables of layers and levels.
#include "client/cli/sensitivity_report.h"

#include <cstdio>
#include <vector>

#include "client/cli/csv.h"
#include "common/text.h"
#include "recipe/levels.h"

namespace wring {
namespace {

std::vector<std::string> level_names(const Json& table) {
  std::vector<std::string> names;
  for (const auto& level : levels_of(table.at("levels")))
    names.push_back(call_text(Catalogue::embedded().method(level.method, "levels"), level.params));
  return names;
}

std::string shown(double value) {
  char text[32];
  std::snprintf(text, sizeof text, "%.3g", value);
  return text;
}

}  // namespace

std::string sensitivity_table(const Json& table) {
  const auto names = level_names(table);
  std::string text;
  for (std::size_t i = 0; i < names.size(); ++i) text += "L" + std::to_string(i) + "  " + names[i] + "\n";
  std::vector<std::vector<std::string>> rows{{"LAYER", "WEIGHTS"}};
  const bool kl = table.at("layers").front().contains("kl_level");
  for (std::size_t i = 0; i < names.size(); ++i) rows[0].push_back("ERROR L" + std::to_string(i));
  if (kl) rows[0].insert(rows[0].end(), {"KL", "AT"});
  for (const auto& layer : table.at("layers")) {
    std::vector<std::string> row(rows[0].size());
    row[0] = layer.at("layer").get<std::string>();
    row[1] = layer.at("weights").dump();
    for (const auto& at : layer.at("levels")) {
      const auto level = at.at("level").get<std::size_t>();
      row.at(2 + level) = shown(at.at("error").get<double>());
      if (kl && at.at("level") == layer.at("kl_level")) {
        row[row.size() - 2] = shown(at.at("kl").get<double>());
        row.back() = "L" + std::to_string(level);
      }
    }
    rows.push_back(std::move(row));
  }
  return text + "\n" + wring::table(rows);
}

std::string sensitivity_csv(const Json& table) {
  const auto names = level_names(table);
  std::string text =
      csv_line({"layer", "class", "weights", "bytes_before", "level", "bytes", "error", "kl", "kl_measured"});
  for (const auto& layer : table.at("layers"))
    for (const auto& at : layer.at("levels")) {
      const bool kl = at.contains("kl");
      text +=
          csv_line({layer.at("layer"), layer.at("class"), layer.at("weights"), layer.at("bytes"),
                    names.at(at.at("level").get<std::size_t>()), at.at("bytes"), at.at("error"),
                    kl ? at.at("kl") : Json(), kl ? Json(at.at("level") == layer.at("kl_level")) : Json()});
    }
  return text;
}

}  // namespace wring
