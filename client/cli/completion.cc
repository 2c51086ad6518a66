// Completion scripts for bash, zsh and fish.
#include "client/cli/completion.h"

#include <vector>

#include "common/text.h"

namespace wring {
namespace {

struct Flag {
  std::string name;  // with dashes
  std::string help;
  bool takes_value = false;
};

std::vector<Flag> flags_of(const CLI::App& app) {
  std::vector<Flag> flags;
  for (const auto* option : app.get_options())
    for (const auto& name : option->get_lnames())
      flags.push_back({"--" + name, option->get_description(), option->get_items_expected_max() > 0});
  return flags;
}

// The verb's own flags and those that every verb takes.
std::vector<Flag> flags_of(const CLI::App& app, const CLI::App& verb) {
  auto flags = flags_of(verb);
  for (auto& flag : flags_of(app))
    if (flag.name != "--help" && flag.name != "--version") flags.push_back(std::move(flag));
  return flags;
}

std::string names(const std::vector<Flag>& flags) {
  std::vector<std::string> all;
  for (const auto& flag : flags) all.push_back(flag.name);
  return join(all, " ");
}

std::string verb_names(const CLI::App& app, std::string_view separator) {
  std::vector<std::string> all;
  for (const auto* verb : app.get_subcommands({})) all.push_back(verb->get_name());
  return join(all, separator);
}

// Text within single quotes of a shell, and without what zsh reads as structure.
std::string quoted(const std::string& text, std::string_view structure = "") {
  std::string out = "'";
  for (const char c : text) {
    if (c == '\'')
      out += "'\\''";
    else if (structure.find(c) != std::string_view::npos)
      out += std::string("\\") + c;
    else
      out += c;
  }
  return out + "'";
}

std::string bash_script(const CLI::App& app) {
  std::string script =
      "_wring() {\n  local cur=${COMP_WORDS[COMP_CWORD]} verb= i\n  COMPREPLY=()\n"
      "  for ((i = 1; i < COMP_CWORD; i++)); do\n    case ${COMP_WORDS[i]} in\n      " +
      verb_names(app, "|") +
      ") verb=${COMP_WORDS[i]}; break ;;\n    esac\n  done\n  local words=\n  case $verb in\n    '') words=" +
      quoted(verb_names(app, " ") + " " + names(flags_of(app))) + " ;;\n";
  for (const auto* verb : app.get_subcommands({}))
    script += "    " + verb->get_name() + ") words=" + quoted(names(flags_of(app, *verb))) + " ;;\n";
  return script +
         "  esac\n  if [[ -z $verb || $cur == -* ]]; then\n    COMPREPLY=($(compgen -W \"$words\" -- "
         "\"$cur\"))\n  fi\n}\n"
         "complete -o default -F _wring wring\n";
}

std::string zsh_script(const CLI::App& app) {
  std::string script = "#compdef wring\n_wring() {\n  local -a verbs=(\n";
  for (const auto* verb : app.get_subcommands({}))
    script += "    " + quoted(verb->get_name() + ":" + verb->get_description()) + "\n";
  script +=
      "  )\n  if (( CURRENT == 2 )); then\n    _describe verb verbs\n    return\n  fi\n  local "
      "verb=$words[2]\n  case $verb in\n";
  for (const auto* verb : app.get_subcommands({})) {
    script += "    " + verb->get_name() + ") _arguments";
    for (const auto& flag : flags_of(app, *verb))
      script += " " + quoted(flag.name + "[", "") + quoted(flag.help, "[]:") +
                quoted("]" + std::string(flag.takes_value ? ":value:_files" : ""));
    script += " '*:file:_files' ;;\n";
  }
  return script + "  esac\n}\ncompdef _wring wring\n";
}

std::string fish_script(const CLI::App& app) {
  std::string script;
  for (const auto* verb : app.get_subcommands({})) {
    script += "complete -c wring -f -n __fish_use_subcommand -a " + verb->get_name() + " -d " +
              quoted(verb->get_description()) + "\n";
    for (const auto& flag : flags_of(app, *verb))
      script += "complete -c wring -n '__fish_seen_subcommand_from " + verb->get_name() + "' -l " +
                flag.name.substr(2) + (flag.takes_value ? " -r" : "") + " -d " + quoted(flag.help) + "\n";
  }
  return script;
}

}  // namespace

std::string completion_script(const CLI::App& app, const std::string& shell) {
  if (shell == "bash") return bash_script(app);
  return shell == "zsh" ? zsh_script(app) : fish_script(app);
}

}  // namespace wring
