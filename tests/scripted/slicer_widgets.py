"""Qt's widgets as far as Slicer's MONAI Label module reads them: menus, a table of options, boxes to tick."""

# ruff: noqa: N802 - the names are Qt's

from dataclasses import dataclass, field
from typing import Any
from unittest.mock import MagicMock


class Quiet:
    """Takes whatever else it is asked, such as a colour, and does nothing."""

    def __getattr__(self, name):
        if name.startswith("_"):
            raise AttributeError(name)
        return MagicMock()


@dataclass
class Menu(Quiet):
    """A combo box: text that is not in it cannot be chosen."""

    items: list[str] = field(default_factory=list)
    currentIndex: int = -1  # noqa: N815 - Qt's

    @property
    def count(self):
        return len(self.items)

    @property
    def currentText(self):
        return self.itemText(self.currentIndex)

    @currentText.setter
    def currentText(self, text):
        if text in self.items:
            self.currentIndex = self.items.index(text)

    def itemText(self, index):
        return self.items[index] if 0 <= index < len(self.items) else ""

    def addItem(self, text, *_):
        self.items.append(text)
        self.currentIndex = max(self.currentIndex, 0)

    def addItems(self, texts):
        for text in texts:
            self.addItem(text)

    def setCurrentText(self, text):
        self.currentText = text

    def clear(self):
        self.items, self.currentIndex = [], -1

    def findText(self, text):
        return self.items.index(text) if text in self.items else -1

    def setCurrentIndex(self, index):
        self.currentIndex = index


class Settings(dict):
    """QSettings: what is kept from one start of Slicer to the next."""

    def value(self, key):
        return self.get(key)

    def setValue(self, key, value):
        self[key] = value


@dataclass
class Placer(Quiet):
    """The button that places a box."""

    node: Any = None

    def setCurrentNode(self, node):
        self.node = node

    def currentNode(self):
        return self.node


@dataclass
class Cell(Quiet):
    """One cell of a table."""

    value: str = ""

    def text(self):
        return self.value

    def flags(self):
        return 0


@dataclass
class CheckBox(Quiet):
    """A box to tick."""

    checked: bool = False

    def setChecked(self, checked):
        self.checked = checked


@dataclass
class Table(Quiet):
    """The options of a model, which the user may change; the module sends what is in it."""

    rowCount: int = 0  # noqa: N815 - Qt's
    cells: dict[tuple[int, int], Cell] = field(default_factory=dict)
    widgets: dict[tuple[int, int], Menu | CheckBox] = field(default_factory=dict)

    def clear(self):
        self.rowCount = 0
        self.cells.clear()
        self.widgets.clear()

    def setRowCount(self, count):
        self.rowCount = count

    def setItem(self, row, column, cell):
        self.cells[row, column] = cell

    def item(self, row, column):
        return self.cells.get((row, column))

    def setCellWidget(self, row, column, widget):
        self.widgets[row, column] = widget

    def cellWidget(self, row, column):
        return self.widgets.get((row, column))

    def choice(self, key):
        """The widget of an option, by its name."""
        row = next(row for (row, column), cell in self.cells.items() if column == 0 and cell.value == key)
        return self.cellWidget(row, 1) or self.item(row, 1)


class Widgets:
    """What the module's window holds: menus, a table of options, and buttons that do nothing."""

    MENUS = (
        "serverComboBox",
        "inputSelector",
        "segmentationModelSelector",
        "deepgrowModelSelector",
        "scribblesMethodSelector",
        "labelComboBox",
        "scribLabelComboBox",
        "appComboBox",
        "strategyBox",
        "trainerBox",
        "optionsSection",
        "optionsName",
        "scribblesSelector",
    )

    def __init__(self):
        for name in self.MENUS:
            setattr(self, name, Menu())
        self.configTable = Table()
        self.dgUpdateCheckBox = MagicMock(checked=False)
        self.freezeUpdateCheckBox = MagicMock(checked=False)
        self.sam2PlaceWidget = Placer()

    def __getattr__(self, name):
        widget = MagicMock()
        setattr(self, name, widget)
        return widget
