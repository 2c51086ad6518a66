// A sentence a line, of many kinds: numbers, speech, law, cooking, code.
#include "engine/text/own_text.h"

namespace wring {

std::string_view own_text() {
  static constexpr std::string_view kText =
      R"text(The river rises in the hills above the village and reaches the sea after two hundred kilometres.
In spring, when the snow melts, it carries more water in a week than it does in the whole of August.
The old bridge was built of grey stone, and its three arches have stood for more than four hundred years.
Every morning the baker opens her shop at six, and by eight o'clock most of the bread has been sold.
Her grandfather taught her that flour, water, salt and patience are all that a good loaf needs.
A train leaves the station every half hour, but on Sundays the timetable has only five of them.
The museum keeps a collection of clocks, some of which still strike the hour a little too early.
Children who visit it are told how a pendulum works and why it must be shorter in a hot summer.
Sound travels through water about four times as fast as it does through air.
When light passes from air into glass it slows down, and its path bends toward the normal.
The boiling point of water falls as one climbs, since the pressure of the air above becomes smaller.
A gardener who plants beans beside maize lets the one climb and the other be fed.
Bees find their way home by the position of the sun, and they dance to tell the others where they have been.
The committee met on Thursday to discuss the budget for the coming year, and it agreed on nothing.
Two members wanted to repair the school roof first, while the others thought that the road could not wait.
In the end they asked an engineer, who measured both and wrote a report of eleven pages.
She explained that the roof would last another winter, provided that the gutters were cleaned in time.
The captain looked at the sky, folded the chart and decided to stay in the harbour until the wind had turned.
"There is no hurry," he said, "and the fish will still be there tomorrow."
His crew was not so sure, but nobody argued with a man who had sailed these waters for thirty years.
The first printed books were expensive, and a scholar might own no more than a dozen in his lifetime.
Within fifty years there were millions of them, and prices had fallen to what a craftsman could pay.
Historians still disagree about how much of the change was caused by the press itself.
To make the soup, cut two onions and a carrot into small pieces and fry them slowly in butter.
Add the potatoes, a litre of stock and a bay leaf, and let everything simmer for half an hour.
Season it with salt, pepper and a little nutmeg before you serve it with dark bread.
A program is a list of instructions, and a computer follows them without asking what they are for.
That is why a small mistake in the wrong place can keep a machine busy for ever.
Good engineers write tests before they trust their own work, and they read the work of others with care.
The function returns the number of items in the list, or zero if the list is empty.
If x is greater than y, then the difference x - y is positive, and its square is positive as well.
The sum of the angles of a triangle is 180 degrees, at least on a plane.
For example, 12 x 12 = 144, and the square root of 2 is about 1.41421.
The population of the town grew from 8,300 in 1950 to 21,700 in 2010, mostly because of the new factory.
Unemployment fell during the same period, although wages rose more slowly than rents did.
Economists call this a shortage of housing, and the mayor calls it a problem of success.
The patient complained of a headache and a sore throat, but her temperature was normal.
The doctor advised rest, plenty of water and a second visit if the pain had not gone by Monday.
Vaccines teach the body to recognise a disease without having to suffer it first.
The northern lights appear when particles from the sun meet the upper atmosphere near the poles.
On a clear night one can see them as curtains of green light that move slowly across the sky.
The moon has no light of its own; it shines because it reflects that of the sun.
He wrote a letter to his sister every week, even when there was little to tell.
She kept all of them in a wooden box under the stairs, tied together with a blue ribbon.
Many years later her granddaughter found the box and read about a world that had disappeared.
The law says that a contract needs an offer, an acceptance and the intention to be bound by it.
A judge may set it aside where one of the parties was deceived about something that mattered.
The orchestra tuned its instruments while the last guests looked for their seats.
After the second movement there was a long silence, and then somebody in the gallery began to clap.
The violinist smiled, because she had played the same piece in the same hall as a girl of twelve.
Coffee is grown in more than seventy countries, most of which lie between the two tropics.
The beans are picked by hand, washed, dried in the sun and sold to a merchant at the port.
What a cup of it costs in a city has little to do with what the farmer was paid.
The desert is cold at night, since dry air and bare sand keep little of the heat of the day.
Camels can go without water for two weeks, and they lose a quarter of their weight in doing so.
The travellers rested in the shade of a rock and waited for the evening.
Nobody knows who built the tower, nor why its door is four metres above the ground.
Perhaps a ladder was used, and pulled up whenever strangers were seen on the road.
The forest belongs to the village, and each family may take as much wood as it needs for the winter.
In return everyone plants ten young trees a year and helps to keep the paths clear.
It is a simple rule, and it has worked better than most of the complicated ones.
)text";
  return kText;
}

}  // namespace wring
