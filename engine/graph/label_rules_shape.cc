// Label rules of operators that move values: pieces of axes keep their atoms; what reshapes merge and split
// is followed where one axis carries what can leave.
#include <algorithm>
#include <array>
#include <optional>

#include "engine/graph/label_call.h"

namespace wring {
namespace {

// Only the sizes of the inputs count.
void reads_sizes(const LabelCall& call) {
  call.set(call.scope.barred_value(call.node.outputs[0]));
}

void transpose(const LabelCall& call) {
  const LabelledValue& x = call.in(0);
  auto order = call.integers("perm", 9);
  if (order.empty())
    for (std::int64_t i = x.rank(); i-- > 0;) order.push_back(i);
  LabelledValue y;
  y.initializer = x.initializer;
  for (const auto from : order) {
    y.axes.push_back(x.axes[static_cast<std::size_t>(from)]);
    y.initializer_axes.push_back(x.initializer_axes[static_cast<std::size_t>(from)]);
  }
  call.set(std::move(y));
}

void squeeze(const LabelCall& call) {
  const LabelledValue& x = call.in(0);
  const auto given = call.integers("axes", 1);
  std::vector<bool> gone(x.axes.size());
  for (const auto axis : given) gone.at(call.axis(axis, x.rank())) = true;
  LabelledValue y;
  y.initializer = x.initializer;
  for (std::size_t i = 0; i < x.axes.size(); ++i) {
    if (given.empty() ? x.axes[i].size() == 1 : gone[i]) continue;
    y.axes.push_back(x.axes[i]);
    y.initializer_axes.push_back(x.initializer_axes[i]);
  }
  call.set(std::move(y));
}

void unsqueeze(const LabelCall& call) {
  const LabelledValue& x = call.in(0);
  const auto given = call.integers("axes", 1);
  const std::size_t rank = x.axes.size() + given.size();
  std::vector<bool> added(rank);
  for (const auto axis : given) added.at(call.axis(axis, static_cast<std::int64_t>(rank))) = true;
  LabelledValue y;
  y.initializer = x.initializer;
  for (std::size_t i = 0, from = 0; i < rank; ++i) {
    y.initializer_axes.push_back(added[i] ? -1 : x.initializer_axes[from]);
    y.axes.push_back(added[i] ? call.scope.barred_axis(1) : x.axes[from]);
    from += added[i] ? 0 : 1;
  }
  call.set(std::move(y));
}

// Some input and output axes that hold the same elements.
struct Segment {
  std::vector<std::size_t> in, out;
};

std::vector<Segment> segments_of(const std::vector<std::int64_t>& in, const std::vector<std::int64_t>& out) {
  std::vector<Segment> segments;
  std::size_t i = 0, o = 0;
  while (i < in.size() && o < out.size()) {
    Segment segment{{i}, {o}};
    std::int64_t a = in[i++], b = out[o++];
    while (a != b) {
      if (a < b && i < in.size())
        segment.in.push_back(i), a *= in[i++];
      else if (a > b && o < out.size())
        segment.out.push_back(o), b *= out[o++];
      else
        return {};
    }
    segments.push_back(std::move(segment));
  }
  if (segments.empty()) return {};
  for (; i < in.size(); ++i) segments.back().in.push_back(i);  // only sizes of one are left
  for (; o < out.size(); ++o) segments.back().out.push_back(o);
  return segments;
}

// The atoms of a segment's elements in order, of the one axis that can lose some; none: nothing can.
std::optional<LabelledAxis> merged(LabelScope& scope, const LabelledValue& x, const Segment& segment) {
  std::vector<std::size_t> carriers;
  std::int64_t total = 1;
  for (const auto i : segment.in) {
    total *= x.axes[i].size();
    if (x.axes[i].size() > 1 && scope.is_free(x.axes[i])) carriers.push_back(i);
  }
  if (carriers.size() != 1) {
    for (const auto i : carriers) scope.bar(x.axes[i]);
    return std::nullopt;
  }
  const LabelledAxis& carrier = x.axes[carriers[0]];
  std::int64_t inner = 1;
  for (const auto i : segment.in)
    if (i > carriers[0]) inner *= x.axes[i].size();
  LabelledAxis flat{{}, carrier.zero};
  for (std::int64_t element = 0; element < total; ++element)
    flat.atoms.push_back(carrier.atoms[static_cast<std::size_t>(element / inner % carrier.size())]);
  return flat;
}

// Calls visit(index on the axis of size `length` with `inner` elements behind it, element) for each element.
template <typename Visit>
void each_element(std::size_t count, std::int64_t length, std::int64_t inner, const Visit& visit) {
  for (std::size_t element = 0; element < count; ++element)
    visit(static_cast<std::size_t>(static_cast<std::int64_t>(element) / inner % length), element);
}

bool loses_nothing(LabelScope& scope, const LabelledAxis& flat, std::int64_t length, std::int64_t inner) {
  std::vector<int> first(static_cast<std::size_t>(length), -1);
  bool same = true;
  each_element(flat.atoms.size(), length, inner, [&](std::size_t i, std::size_t element) {
    const int atom = scope.atoms.find(flat.atoms[element]);
    if (first[i] < 0) first[i] = atom;
    same = same && first[i] == atom;
  });
  return same;
}

// Which of the output axes can lose indices: one whose indices already leave as a whole, else the last but
// one (heads before their channels).
std::size_t carrying_axis(LabelScope& scope, const LabelledAxis& flat, const std::vector<std::int64_t>& sizes,
                          const std::vector<std::size_t>& axes) {
  std::int64_t inner = static_cast<std::int64_t>(flat.atoms.size());
  for (const auto axis : axes) {
    inner /= sizes[axis];
    if (loses_nothing(scope, flat, sizes[axis], inner)) return axis;
  }
  return axes[axes.size() - 2];
}

void split_segment(const LabelCall& call, const LabelledAxis& flat, const Segment& segment,
                   LabelledValue& y) {
  const auto& sizes = call.out_sizes();
  std::vector<std::size_t> axes;
  for (const auto o : segment.out)
    if (sizes[o] > 1) axes.push_back(o);
  if (axes.empty()) return;
  const std::size_t carrier = axes.size() == 1 ? axes[0] : carrying_axis(call.scope, flat, sizes, axes);
  std::int64_t inner = 1;
  for (const auto o : axes)
    if (o > carrier) inner *= sizes[o];
  std::vector<int> atoms(static_cast<std::size_t>(sizes[carrier]), -1);
  each_element(flat.atoms.size(), sizes[carrier], inner, [&](std::size_t i, std::size_t element) {
    if (atoms[i] < 0)
      atoms[i] = flat.atoms[element];
    else
      call.scope.atoms.unite(atoms[i], flat.atoms[element]);
  });
  y.axes[carrier] = {std::move(atoms), flat.zero};
}

void reshape(const LabelCall& call) {
  const LabelledValue& x = call.in(0);
  LabelledValue y = call.scope.barred_value(call.node.outputs[0]);
  const auto segments = segments_of(call.sizes(0), call.out_sizes());
  if (segments.empty()) return call.bar_all();
  for (const auto& segment : segments)
    if (const auto flat = merged(call.scope, x, segment)) split_segment(call, *flat, segment, y);
  if (call.node.operation == "Reshape") {
    const auto& target = call.scope.traced(call.node.inputs[1]).integers;
    for (std::size_t i = 0; i < y.axes.size() && i < target.size(); ++i)
      if (target[i] > 0 && call.scope.is_free(y.axes[i]))
        call.scope.count_or_bar(call.index, 1, i, y.axes[i].atoms);
  }
  call.set(std::move(y));
}

void concat(const LabelCall& call) {
  const std::size_t axis = call.axis(call.integer("axis", 0), call.in(0).rank());
  LabelledValue y{call.in(0).axes, {}, {}};
  // What cannot leave need not be zero beside what can.
  const auto may_leave = [&](const LabelledAxis& part) { return part.zero || !call.scope.is_free(part); };
  for (auto& part : y.axes) part.zero = may_leave(part);
  for (std::size_t i = 1; i < call.node.inputs.size(); ++i) {
    const LabelledValue& part = call.in(i);
    for (std::size_t a = 0; a < y.axes.size(); ++a) {
      y.axes[a].zero = y.axes[a].zero && may_leave(part.axes[a]);
      if (a == axis)
        y.axes[a].atoms.insert(y.axes[a].atoms.end(), part.axes[a].atoms.begin(), part.axes[a].atoms.end());
      else
        call.scope.tie(y.axes[a], part.axes[a]);
    }
  }
  call.set(std::move(y));
}

AtomIds piece_of(const LabelledAxis& axis, std::int64_t begin, std::int64_t end) {
  return {axis.atoms.begin() + begin, axis.atoms.begin() + end};
}

void split(const LabelCall& call) {
  LabelledValue& x = call.in(0);
  const std::size_t axis = call.axis(call.integer("axis", 0), x.rank());
  const bool by_attribute = call.node.find("split") != nullptr;
  const bool counted = by_attribute || call.has(1);
  // Equal pieces of what is left: index by index they can only leave together.
  const std::int64_t equal = call.out_sizes(0)[axis],
                     count = static_cast<std::int64_t>(call.node.outputs.size());
  if (!counted && equal * count != x.axes[axis].size())
    call.scope.bar(x.axes[axis]);
  else if (!counted)
    call.scope.tie_parts(x.axes[axis], count);
  std::int64_t begin = 0;
  for (std::size_t i = 0; i < call.node.outputs.size(); ++i) {
    const std::int64_t end = begin + call.out_sizes(i)[axis];
    LabelledValue y{x.axes, {}, {}};
    y.axes[axis].atoms = piece_of(x.axes[axis], begin, end);
    if (by_attribute)
      call.scope.count_attribute(call.index, "split", i, y.axes[axis].atoms);
    else if (call.has(1))
      call.scope.count_or_bar(call.index, 1, i, y.axes[axis].atoms);
    call.set(std::move(y), i);
    begin = end;
  }
}

// Bounds of a slice of what can leave count what stands before them.
LabelledAxis sliced_axis(const LabelCall& call, const LabelledAxis& axis, std::size_t element,
                         std::int64_t out) {
  const auto starts = call.integers("starts", 1), ends = call.integers("ends", 2),
             steps = call.integers("steps", 4);
  const std::int64_t start = starts.at(element), end = ends.at(element), size = axis.size();
  const bool plain = steps.empty() || steps.at(element) == 1;
  if (plain && start == 0 && out == size) return axis;
  if (!plain || start < 0 || end < 0 || out == 0 || !call.scope.is_free(axis)) {
    call.scope.bar(axis);
    return call.scope.barred_axis(out);
  }
  const auto count = [&](const char* name, std::size_t input, std::int64_t bound) {
    const AtomIds before = piece_of(axis, 0, bound);
    if (!call.node.find(name)) return call.scope.count_input(call.index, input, element, before);
    call.scope.count_attribute(call.index, name, element, before);
    return true;
  };
  const bool counted = (start == 0 || count("starts", 1, start)) && (end >= size || count("ends", 2, end));
  if (!counted && size % out == 0 && start % out == 0)
    call.scope.tie_parts(axis, size / out);  // an equal part, whose bounds follow the size
  else if (!counted)
    call.scope.bar(axis);
  return {piece_of(axis, start, std::min(end, size)), axis.zero};
}

void slice(const LabelCall& call) {
  const LabelledValue& x = call.in(0);
  LabelledValue y{x.axes, {}, {}};
  const auto axes = call.integers("axes", 3);
  const std::size_t count = call.integers("starts", 1).size();
  for (std::size_t i = 0; i < count; ++i) {
    const std::size_t axis = axes.empty() ? i : call.axis(axes[i], x.rank());
    y.axes[axis] = sliced_axis(call, x.axes[axis], i, call.out_sizes()[axis]);
  }
  call.set(std::move(y));
}

// The value is an attribute before opset 11, an input since.
bool pads_with_zeros(const LabelCall& call) {
  if (call.has(2)) return call.scope.traced(call.node.inputs[2]).number == 0.0;
  const auto* attribute = call.node.find("value");
  return !attribute || std::get<float>(attribute->value) == 0;
}

// Zeros beside a labelled axis are indices that can leave, too; how many are kept the pads say.
void pad(const LabelCall& call) {
  const LabelledValue& x = call.in(0);
  const auto pads = call.integers("pads", 1);
  const auto* mode = call.node.find("mode");
  const bool constant = !mode || std::get<std::string>(mode->value) == "constant";
  if (call.has(3) || pads.size() != 2 * x.axes.size() || !constant) return call.bar_all();
  const bool zeros = pads_with_zeros(call);
  LabelledValue y{x.axes, {}, {}};
  for (std::size_t i = 0; i < x.axes.size(); ++i) {
    const std::int64_t before = pads[i], after = pads[x.axes.size() + i];
    if (!zeros) y.axes[i].zero = false;
    if (before == 0 && after == 0) continue;
    if (before < 0 || after < 0 || !call.scope.is_free(x.axes[i])) {
      call.scope.bar(x.axes[i]);
      y.axes[i] = call.scope.barred_axis(call.out_sizes()[i]);
      continue;
    }
    const AtomIds head = call.scope.atoms.make(before), tail = call.scope.atoms.make(after);
    const auto count = [&](std::size_t element, const AtomIds& ids) {
      if (ids.empty()) return;
      if (call.node.find("pads"))
        call.scope.count_attribute(call.index, "pads", element, ids);
      else
        call.scope.count_or_bar(call.index, 1, element, ids);
    };
    count(i, head);
    count(x.axes.size() + i, tail);
    y.axes[i].atoms.insert(y.axes[i].atoms.begin(), head.begin(), head.end());
    y.axes[i].atoms.insert(y.axes[i].atoms.end(), tail.begin(), tail.end());
  }
  call.set(std::move(y));
}

// Axes that keep their size keep their atoms.
void keeps_sizes(const LabelCall& call) {
  const LabelledValue& x = call.in(0);
  if (call.sizes(0) == call.out_sizes()) return call.set(x);  // also a view stays one
  LabelledValue y = call.scope.barred_value(call.node.outputs[0]);
  for (std::size_t i = 0; i < y.axes.size(); ++i) {
    const std::size_t back = y.axes.size() - i;
    if (x.axes.size() < back) continue;
    const LabelledAxis& axis = x.axes[x.axes.size() - back];
    if (axis.size() == y.axes[i].size())
      y.axes[i] = axis;
    else
      call.scope.bar(axis);
  }
  call.set(std::move(y));
}

// Sizes that are given as numbers count the indices of axes that keep theirs.
void resize(const LabelCall& call) {
  keeps_sizes(call);
  if (!call.has(3)) return;
  const LabelledValue& y = call.scope.values.at(call.node.outputs[0]);
  const auto axes = call.integers("axes", call.node.inputs.size());
  const std::size_t count = call.scope.traced(call.node.inputs[3]).integers.size();
  for (std::size_t i = 0; i < count; ++i) {
    const std::size_t axis = axes.empty() ? i : call.axis(axes[i], y.rank());
    if (call.scope.is_free(y.axes[axis])) call.scope.count_or_bar(call.index, 3, i, y.axes[axis].atoms);
  }
}

// One zero of an initializer, repeated: nothing stands against cutting that.
void expand_zero(const LabelCall& call) {
  LabelledValue y;
  for (const auto size : call.out_sizes()) y.axes.push_back({call.scope.atoms.make(size), true});
  call.set(std::move(y));
}

// Sizes that the target names as numbers are counted.
void expand(const LabelCall& call) {
  const bool zero = !call.in(0).initializer.empty() && call.scope.traced(call.node.inputs[0]).number == 0.0;
  zero ? expand_zero(call) : keeps_sizes(call);
  const LabelledValue& y = call.scope.values.at(call.node.outputs[0]);
  const auto& target = call.scope.traced(call.node.inputs[1]).integers;
  const std::size_t lead = y.axes.size() - target.size();
  for (std::size_t i = 0; i < target.size(); ++i)
    if (target[i] > 1 && call.scope.is_free(y.axes[lead + i]))
      call.scope.count_or_bar(call.index, 1, i, y.axes[lead + i].atoms);
}

// An embedding's columns are made by its table; the axis that is looked along is a barrier.
void gather(const LabelCall& call) {
  LabelScope& scope = call.scope;
  LabelledValue& x = call.in(0);
  const LabelledValue& indices = call.in(1);
  const std::size_t axis = call.axis(call.integer("axis", 0), x.rank());
  scope.bar(x.axes[axis]);
  LabelledValue y;
  for (std::size_t i = 0; i < x.axes.size(); ++i) {
    if (i != axis) {
      y.axes.push_back(x.axes[i]);
      if (!x.initializer.empty()) y.axes.back().zero = scope.produce(x, i);
      continue;
    }
    for (const auto& index : indices.axes) y.axes.push_back({index.atoms, false});
  }
  call.set(std::move(y));
}

constexpr std::array kRows{
    LabelRuleRow{"CastLike", keeps_sizes},
    LabelRuleRow{"Concat", concat},
    LabelRuleRow{"ConstantOfShape", reads_sizes},
    LabelRuleRow{"Expand", expand},
    LabelRuleRow{"Flatten", reshape},
    LabelRuleRow{"Gather", gather},
    LabelRuleRow{"Pad", pad},
    LabelRuleRow{"Reshape", reshape},
    LabelRuleRow{"Resize", resize},
    LabelRuleRow{"Shape", reads_sizes},
    LabelRuleRow{"Size", reads_sizes},
    LabelRuleRow{"Slice", slice},
    LabelRuleRow{"Split", split},
    LabelRuleRow{"Squeeze", squeeze},
    LabelRuleRow{"Transpose", transpose},
    LabelRuleRow{"Unsqueeze", unsqueeze},
    LabelRuleRow{"Upsample", keeps_sizes},
};

}  // namespace

std::span<const LabelRuleRow> shape_label_rules() {
  return kRows;
}

}  // namespace wring
